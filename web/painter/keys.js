// The painter without a pointer: every edit has a key while the picture has the focus.

/** @typedef {import('./state.js').PainterState} PainterState */
/** @typedef {{ state: PainterState, cancel: () => boolean, leave: () => void, rename: () => void, add: () => void }} Host */

const STEP = 0.01
const LARGE = 5
/** @type {Record<string, [number, number]>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }

/** @type {Record<string, (state: PainterState, host: Host) => void>} */
const PLAIN = {
  b: (state) => state.use('brush'),
  r: (state) => state.use('box'),
  o: (state) => state.use('ellipse'),
  e: (state) => state.use('erase'),
  n: (state) => state.addShape(state.tool === 'ellipse' ? { ellipse: [0.35, 0.35, 0.3, 0.3] } : { box: [0.35, 0.35, 0.3, 0.3] }),
  d: (state) => state.duplicateShape(),
  '[': (state) => state.scaleBrush(1 / 1.25),
  ']': (state) => state.scaleBrush(1.25),
  delete: (state) => state.removeShape(),
  backspace: (state) => state.removeShape(),
  enter: (state) => state.selectNext(1),
  ',': (state) => state.selectNext(-1),
  '.': (state) => state.selectNext(1),
  pageup: (state) => state.moveSubject(state.active, 1),
  pagedown: (state) => state.moveSubject(state.active, -1),
  f2: (_, host) => host.rename(),
  '+': (_, host) => host.add()
}
/** @type {Record<string, (state: PainterState) => void>} */
const WITH_CONTROL = {
  z: (state) => state.undo(),
  y: (state) => state.redo(),
  d: (state) => state.duplicateShape()
}

export const KEYS = 'Drag on empty ground: a new region (Ctrl: also on others). Inside: move, Alt: copy. Right button: erase. Two fingers: zoom, move. ' +
  'Keys: 1–9 subject, R box, O ellipse, B brush, E eraser, [ ] size, N new, Enter next, arrows move (Shift: 5 %), ' +
  'Alt+arrows resize, D duplicate, Delete, Page Up/Down order, F2 subject, + add, Ctrl+Z / Ctrl+Y, Ctrl+C / V, Esc.'

/**
 * Listen on the element that has the focus. What is used goes no further: the graph has keys of its own.
 * @param {HTMLElement} target @param {Host} host
 */
export function listenToKeys (target, host) {
  target.addEventListener('keydown', (event) => {
    if (handled(event, host)) {
      event.preventDefault()
      event.stopPropagation()
    }
  })
}

/** @param {KeyboardEvent} event @param {Host} host */
function handled (event, host) {
  const { state } = host
  const key = event.key.toLowerCase()
  if (key === 'escape') {
    if (!host.cancel()) host.leave()
    return true
  }
  const arrow = ARROWS[event.key]
  if (arrow) {
    const [dx, dy] = arrow.map((way) => way * STEP * (event.shiftKey ? LARGE : 1))
    if (event.altKey) state.grow(dx, dy)
    else state.nudge(dx, dy)
    return true
  }
  if (event.ctrlKey || event.metaKey) {
    const act = key === 'z' && event.shiftKey ? () => state.redo() : WITH_CONTROL[key]
    act?.(state)
    return Boolean(act)
  }
  if (event.altKey) return false
  if (/^[1-9]$/.test(key)) {
    state.activate(Number(key) - 1)
    return true
  }
  PLAIN[key]?.(state, host)
  return key in PLAIN
}
