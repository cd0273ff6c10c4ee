// Runs in the audio thread: hands on what the microphone hears, mixed to one channel, in pieces.

const PIECE = 1024; // samples

class Capture extends AudioWorkletProcessor {
  piece = new Float32Array(PIECE);
  filled = 0;

  process([channels]) {
    const length = channels[0]?.length ?? 0;
    for (let i = 0; i < length; i++) {
      this.piece[this.filled++] = channels.reduce((sum, channel) => sum + channel[i], 0) / channels.length;
      if (this.filled < PIECE) continue;
      this.port.postMessage(this.piece, [this.piece.buffer]);
      this.piece = new Float32Array(PIECE);
      this.filled = 0;
    }
    return true;
  }
}

registerProcessor("capture", Capture);
