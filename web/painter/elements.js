// Small makers of page elements.

/**
 * An element with properties, listeners ("onclick") and children.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag @param {Record<string, any>} [options] @param {(Node | string)[]} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function element (tag, options = {}, ...children) {
  const made = document.createElement(tag)
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined) continue
    if (name === 'style') for (const [key, text] of Object.entries(value)) made.style.setProperty(key, text)
    else if (name.startsWith('aria-') || name === 'role') made.setAttribute(name, String(value))
    else Object.assign(made, { [name]: value })
  }
  made.append(...children)
  return made
}

const ICONS = {
  box: '<rect x="2.5" y="3.5" width="11" height="9"/>',
  ellipse: '<ellipse cx="8" cy="8" rx="6" ry="4.5"/>',
  brush: '<path d="M13.5 2.5 7 9M6.5 9.5c-2 0-2 2-4 3 2 1.500 6 1 6-1.500z"/>',
  erase: '<path d="M6 13h7M3 9.500 9 3.500l4 4L8 13H6z"/>',
  undo: '<path d="M5.500 3 2.500 6l3 3M2.500 6H10a3.500 3.500 0 0 1 0 7H7"/>',
  redo: '<path d="M10.500 3l3 3-3 3M13.500 6H6a3.500 3.500 0 0 0 0 7h3"/>',
  more: '<path d="M3.500 8h.01M8 8h.01M12.500 8h.01" stroke-width="2.600"/>',
  larger: '<path d="M9.500 2.500h4v4M6.500 13.500h-4v-4M13.500 2.500 9 7M2.500 13.500 7 9"/>',
  remove: '<path d="M4 4l8 8M12 4l-8 8"/>'
}

/**
 * A square button with a drawing.
 * @param {keyof typeof ICONS} icon @param {string} title @param {() => void} onclick
 */
export function toolButton (icon, title, onclick) {
  const button = element('button', { className: 'c2p-tool', type: 'button', title, 'aria-label': title, onclick })
  button.innerHTML = `<svg viewBox="0 0 16 16" aria-hidden="true">${ICONS[icon]}</svg>` // our own drawings alone
  return button
}

/** Black or white, whatever reads better on a color. @param {string} color */
export function textOn (color) {
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16))
  return 0.299 * red + 0.587 * green + 0.114 * blue > 140 ? '#000' : '#fff'
}
