// The frames of one signing, as they come in, and the poses at any moment between them.

const CAMERA_SECONDS = 0.4; // over which the camera's path is averaged, so that it follows a hand and does not shake with it

export class Signing {
  constructor({ fps, dims, seen }, skeleton) {
    this.fps = fps;
    this.dims = dims;
    this.parts = spans(skeleton, seen);
    this.hands = this.parts.filter((part) => part.hand && part.seen.length);
    this.frames = []; // each x, y of all joints, one after the other; NaN where a joint is not seen
    this.complete = false;
    this.reach = Math.floor((CAMERA_SECONDS * fps) / 2);
  }

  get length() {
    return this.frames.length;
  }

  get seconds() {
    return this.length / this.fps;
  }

  add({ first, frames }) {
    frames.forEach((joints, i) => {
      const flat = new Float32Array(2 * joints.length);
      joints.forEach(([x, y], joint) => flat.set([x ?? NaN, y ?? NaN], 2 * joint));
      this.frames[first + i] = flat;
    });
  }

  /** Joints at a position in frames, linearly between two of them; as in the nearer one where they are not seen in both. */
  at(position) {
    return this.between(position, (frame) => this.frames[frame]);
  }

  /** Where the camera looks that follows a hand; where the hand is not seen, where it was last or will be first. */
  centre(hand, position) {
    return this.between(position, (frame) => this.smoothed(hand, this.nearest(hand, frame)));
  }

  /** The frame in which a hand is seen, nearest before or else after; the frame itself if there is none. */
  nearest(hand, frame) {
    const isSeen = (joints) => joints && !Number.isNaN(joints[2 * hand.seen[0]]);
    for (let before = frame; before >= 0; before--) if (isSeen(this.frames[before])) return before;
    const after = this.frames.findIndex(isSeen);
    return after >= 0 ? after : frame;
  }

  between(position, read) {
    const low = Math.min(Math.floor(position), this.length - 1);
    const high = Math.min(low + 1, this.length - 1);
    const share = Math.min(position - low, 1);
    const [before, after] = [read(low), read(high)];
    return before.map((value, i) => {
      if (Number.isNaN(value + after[i])) return share < 0.5 ? value : after[i];
      return value * (1 - share) + after[i] * share;
    });
  }

  smoothed(hand, frame) {
    const sum = [0, 0];
    let count = 0;
    for (let i = frame - this.reach; i <= frame + this.reach; i++) {
      const joints = this.frames[Math.max(0, Math.min(i, this.length - 1))];
      for (const joint of hand.seen) {
        if (Number.isNaN(joints[2 * joint])) continue;
        for (const axis of [0, 1]) sum[axis] += joints[2 * joint + axis];
        count++;
      }
    }
    return sum.map((total) => (count ? total / count : 0));
  }
}

/** The parts of a skeleton with the joints and limbs that are seen, in the indices of the whole. */
function spans(skeleton, seen) {
  let start = 0;
  return skeleton.parts.map((part) => {
    const first = start;
    start += part.joints.length;
    const isSeen = (joint) => seen?.[joint] ?? true;
    return {
      name: part.name,
      first,
      names: part.joints,
      hand: part.name in skeleton.wrists,
      seen: part.joints.map((_, i) => first + i).filter(isSeen),
      limbs: part.limbs.map(([a, b]) => [first + a, first + b]).filter(([a, b]) => isSeen(a) && isSeen(b)),
    };
  });
}
