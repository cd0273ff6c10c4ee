// WAV files of one channel and 16 bits.

export const HEADER = 44; // bytes

/** ``pieces``: Float32Arrays of samples from -1 to 1. */
export function wav(pieces, rate) {
  const samples = pieces.reduce((sum, piece) => sum + piece.length, 0);
  const view = new DataView(new ArrayBuffer(HEADER + 2 * samples));
  const put = {
    name: (at, name) => [...name].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0))),
    short: (at, value) => view.setUint16(at, value, true),
    long: (at, value) => view.setUint32(at, value, true),
  };
  put.name(0, "RIFF");
  put.long(4, HEADER - 8 + 2 * samples);
  put.name(8, "WAVEfmt ");
  put.long(16, 16); // bytes of the format
  put.short(20, 1); // PCM
  put.short(22, 1); // channels
  put.long(24, Math.round(rate));
  put.long(28, Math.round(rate) * 2); // bytes a second
  put.short(32, 2); // bytes of one moment
  put.short(34, 16); // bits
  put.name(36, "data");
  put.long(40, 2 * samples);
  let at = HEADER;
  for (const piece of pieces) {
    for (const sample of piece) {
      view.setInt16(at, Math.round(32767 * Math.max(-1, Math.min(1, sample))), true);
      at += 2;
    }
  }
  return view.buffer;
}
