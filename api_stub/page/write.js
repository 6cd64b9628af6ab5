/** Sets the element's text if it differs, so that a screen reader does not read the same words again. */
export function write(element, words) {
  if (element.textContent !== words) element.textContent = words;
}
