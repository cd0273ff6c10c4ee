// What the model can do, in words.

// Browsers know the names of spoken languages, but of few signed ones.
const SIGNED = { ase: "American", bfi: "British", gsg: "German", sgg: "Swiss German", fsl: "French", csl: "Chinese", ssp: "Spanish", ise: "Italian", jsl: "Japanese" };

/** The letters that it reads, such as "the letters a–z"; nothing where it reads any, or too many to name. */
export function characters({ characters: known }) {
  const codes = [...(known ?? "")].filter((letter) => letter.trim()).map((letter) => letter.codePointAt(0)).sort((a, b) => a - b);
  const runs = [];
  for (const code of codes) {
    if (runs.at(-1)?.[1] === code - 1) runs.at(-1)[1] = code;
    else runs.push([code, code]);
  }
  const named = runs.flatMap(([from, to]) => (to - from < 2 ? range(from, to) : [`${letter(from)}–${letter(to)}`]));
  return named.length > 0 && named.length < 20 ? `the letters ${named.join(" ")}` : "";
}

/** One line on what it learned. */
export function learned(model) {
  const signed = model.signed_languages.map(language).join(", ");
  const spoken = model.spoken_languages.map(language).join(", ");
  return [model.description, signed && `${signed}${spoken && `, from ${spoken}`}.`].filter(Boolean).join(" ");
}

export function sentence(words) {
  return words.charAt(0).toUpperCase() + words.slice(1) + (/[.!?…]$/.test(words) ? "" : ".");
}

export function clock(seconds) {
  const [minutes, rest] = [Math.floor(seconds / 60), Math.floor(seconds % 60)];
  return [minutes && `${minutes} min`, (rest || !minutes) && `${rest} s`].filter(Boolean).join(" ");
}

/** A language of this tag, by its name where the browser knows it. */
export function language(tag) {
  if (tag in SIGNED) return `${SIGNED[tag]} Sign Language`;
  try {
    return new Intl.DisplayNames("en", { type: "language" }).of(tag);
  } catch {
    return tag;
  }
}

function range(from, to) {
  return Array.from({ length: to - from + 1 }, (_, i) => letter(from + i));
}

function letter(code) {
  return String.fromCodePoint(code);
}
