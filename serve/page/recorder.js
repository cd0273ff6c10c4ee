// The microphone, as a WAV file: browsers themselves record only formats that the server does not read.

import { Problem } from "./api.js";
import { HEADER, wav } from "./wav.js";

const RATE = 16_000; // samples a second: the server keeps no more
const PIECES = 4096; // bytes to spare, for it comes in pieces, and in a form
const REFUSED = {
  NotAllowedError: "The browser may not use the microphone. Allow it for this page, or choose an audio file.",
  NotFoundError: "There is no microphone. Connect one, or choose an audio file.",
  NotReadableError: "The microphone is in use by another program. Close that, or choose an audio file.",
};

/** Seconds of a recording that the server takes. */
export function longest({ audio_seconds, upload_bytes }, rate = RATE) {
  return Math.min(audio_seconds, (upload_bytes - HEADER - PIECES) / 2 / rate);
}

export class Recorder {
  pieces = [];
  samples = 0;

  /** Begins to record, up to the limits: then it calls ``full()``. Where the microphone is lost, ``lost()``. */
  static async start({ limits, heard, full, lost }) {
    if (!window.isSecureContext || !navigator.mediaDevices) {
      throw new Problem("The microphone can be used only where the address of this page begins with https, or on the server itself. Choose an audio file.");
    }
    const recorder = new Recorder();
    try {
      recorder.microphone = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, echoCancellation: false } });
      recorder.open();
      await recorder.context.audioWorklet.addModule(new URL("capture.js", import.meta.url));
      recorder.longest = longest(limits, recorder.context.sampleRate);
      recorder.connect(heard, full);
      recorder.microphone.getAudioTracks()[0].onended = lost;
      await recorder.context.resume();
    } catch (error) {
      recorder.release();
      throw new Problem(REFUSED[error.name] ?? `The microphone cannot be used: ${error.message}`);
    }
    return recorder;
  }

  /** At 16 kHz, or in a browser that does not convert what the microphone gives, at its own rate. */
  open() {
    try {
      this.listen({ sampleRate: RATE });
    } catch {
      this.context?.close();
      this.context = null;
      this.listen();
    }
  }

  listen(options) {
    this.context = new AudioContext(options);
    this.source = this.context.createMediaStreamSource(this.microphone);
  }

  connect(heard, full) {
    const { context, source } = this;
    const capture = new AudioWorkletNode(context, "capture");
    capture.port.onmessage = ({ data }) => {
      if (!this.microphone) return;
      this.pieces.push(data);
      this.samples += data.length;
      heard(loudness(data), this);
      if (this.seconds >= this.longest) full();
    };
    source.connect(capture).connect(context.destination); // it puts out silence
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
