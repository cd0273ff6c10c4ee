// The microphone, as a WAV file: browsers themselves record only formats that the server does not read.

import { Problem } from "./api.js";
import { HEADER, wav } from "./wav.js";

const PIECES = 4096; // bytes to spare, for it comes in pieces, and in a form
const REFUSED = {
  NotAllowedError: "The browser may not use the microphone. Allow it for this page, or choose an audio file.",
  NotFoundError: "There is no microphone. Connect one, or choose an audio file.",
  NotReadableError: "The microphone is in use by another program. Close that, or choose an audio file.",
};

export class Recorder {
  pieces = [];
  samples = 0;

  /** Begins to record, up to ``longest`` seconds in a file of ``most`` bytes: then it calls ``full()``. */
  static async start({ longest, most, heard, full }) {
    if (!window.isSecureContext || !navigator.mediaDevices) {
      throw new Problem("The microphone can be used only where the address of this page begins with https, or on the server itself. Choose an audio file.");
    }
    const recorder = new Recorder();
    try {
      recorder.microphone = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, echoCancellation: false } });
      recorder.context = new AudioContext();
      await recorder.context.audioWorklet.addModule(new URL("capture.js", import.meta.url));
      recorder.longest = Math.min(longest, (most - HEADER - PIECES) / 2 / recorder.context.sampleRate);
      recorder.connect(heard, full);
      await recorder.context.resume();
    } catch (error) {
      recorder.release();
      throw new Problem(REFUSED[error.name] ?? `The microphone cannot be used: ${error.message}`);
    }
    return recorder;
  }

  connect(heard, full) {
    const { context, microphone } = this;
    const capture = new AudioWorkletNode(context, "capture");
    capture.port.onmessage = ({ data }) => {
      if (!this.microphone) return;
      this.pieces.push(data);
      this.samples += data.length;
      heard(loudness(data), this);
      if (this.seconds >= this.longest) full();
    };
    context.createMediaStreamSource(microphone).connect(capture).connect(context.destination); // it puts out silence
  }

  get seconds() {
    return this.samples / this.context.sampleRate;
  }

  stop() {
    const file = new File([wav(this.pieces, this.context.sampleRate)], "recording.wav", { type: "audio/wav" });
    this.release();
    return file;
  }

  release() {
    this.microphone?.getTracks().forEach((track) => track.stop());
    this.microphone = null;
    this.context?.close();
  }
}

/** From 60 dB below the loudest, 0, to the loudest, 1. */
function loudness(samples) {
  const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
  return Math.max(0, Math.min(1, 1 + (10 * Math.log10(power + 1e-12)) / 60));
}
