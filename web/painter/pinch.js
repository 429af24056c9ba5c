// Two fingers on the stage: the picture becomes larger and moves in it.

/** @typedef {{ scale: number, x: number, y: number }} Zoom  x, y: how far the picture's middle is from the stage's, in pixels */
/** @typedef {[number, number]} Finger  in pixels from the stage's middle */

const LARGEST = 8

/** @type {Zoom} */
export const WHOLE = { scale: 1, x: 0, y: 0 }

/** The zoom after two fingers moved: what lay between them still does. @param {Zoom} zoom @param {[Finger, Finger]} before @param {[Finger, Finger]} after @returns {Zoom} */
export function pinched (zoom, before, after) {
  const apart = (/** @type {[Finger, Finger]} */ [a, b]) => Math.max(1, Math.hypot(a[0] - b[0], a[1] - b[1]))
  const middle = (/** @type {[Finger, Finger]} */ [a, b]) => [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2]
  const scale = Math.min(LARGEST, Math.max(1, zoom.scale * apart(after) / apart(before)))
  const factor = scale / zoom.scale
  const [from, to] = [middle(before), middle(after)]
  return { scale, x: to[0] - (from[0] - zoom.x) * factor, y: to[1] - (from[1] - zoom.y) * factor }
}

/** The zoom with no side of a picture of that size further inside than it must be. @param {Zoom} zoom @param {number} width @param {number} height @param {{ width: number, height: number }} room @returns {Zoom} */
export function kept ({ scale, x, y }, width, height, room) {
  const most = (/** @type {number} */ side, /** @type {number} */ space) => Math.max(0, (side - space) / 2)
  const within = (/** @type {number} */ value, /** @type {number} */ limit) => Math.min(limit, Math.max(-limit, value)) + 0
  return { scale, x: within(x, most(width, room.width)), y: within(y, most(height, room.height)) }
}

/**
 * Listen on the stage, before the picture does: two fingers never draw.
 * @param {HTMLElement} stage @param {{ begin: () => void, move: (change: (zoom: Zoom) => Zoom) => void }} host  begin: the first finger's drawing ends
 * @returns {() => void} to listen no longer
 */
export function listenToPinches (stage, host) {
  /** @type {Map<number, Finger>} */
  const fingers = new Map()
  /** @param {PointerEvent} event @returns {Finger} */
  const place = (event) => {
    const box = stage.getBoundingClientRect()
    const ratio = stage.clientWidth / box.width // the graph may be zoomed as well
    return [(event.clientX - box.left - box.width / 2) * ratio, (event.clientY - box.top - box.height / 2) * ratio]
  }
  const two = () => /** @type {[Finger, Finger]} */ ([...fingers.values()].slice(0, 2))
  stage.addEventListener('pointerdown', (event) => {
    if (event.pointerType !== 'touch') return
    fingers.set(event.pointerId, place(event))
    if (fingers.size < 2) return
    event.stopPropagation()
    host.begin()
  }, true)
  stage.addEventListener('pointermove', (event) => {
    if (!fingers.has(event.pointerId)) return
    const before = two()
    fingers.set(event.pointerId, place(event))
    if (fingers.size < 2) return
    event.stopPropagation()
    const after = two()
    host.move((zoom) => pinched(zoom, before, after))
  }, true)
  for (const name of /** @type {const} */ (['pointerup', 'pointercancel'])) stage.addEventListener(name, (event) => fingers.delete(event.pointerId), true)
  const ours = (/** @type {TouchEvent} */ event) => { if (fingers.size > 1 && stage.contains(/** @type {Node} */ (event.target))) event.stopPropagation() }
  window.addEventListener('touchmove', ours, true) // the page's own pinch, which zooms the graph, listens above the stage
  return () => window.removeEventListener('touchmove', ours, true)
}
