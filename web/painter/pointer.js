// Mouse, pen and touch on the picture: draw, choose, move, resize, paint, erase.
import { hasRoom } from './document.js'
import { boundsOf, boxBetween, fitted, handlePoint, HANDLES, moved, resized, shapeAt, simplified, snapBy, snapLines } from './geometry.js'

/** @typedef {import('./state.js').PainterState} PainterState @typedef {import('./document.js').Point} Point @typedef {import('./document.js').Shape} Shape */

/**
 * @typedef {object} Gesture
 * @property {number} pointer
 * @property {string} before  the layout's text to return to
 * @property {import('./document.js').Layout} layout  what the gesture began with
 * @property {Point} start
 * @property {boolean} moved
 * @property {(point: Point, event: PointerEvent) => void} move
 * @property {() => void} [end]
 */

const NEAR = 7 // pixels of the page to snap or to take a handle
const NEAR_TOUCH = 16
const CLICK = 3 // pixels of the page that a click may wander
const LONGEST_STROKE = 2000 // points before it is simplified

/** Whoever shows the painter. @typedef {{ canvas: HTMLCanvasElement, state: PainterState, focus: () => void, needSubject: () => void, rename: () => void, hover: (point: Point | null) => void, forward: (event: any, kind: 'down' | 'move' | 'up' | 'wheel') => void }} Host */

export class Pointer {
  /** @param {Host} host */
  constructor (host) {
    this.host = host
    /** @type {Gesture | null} */
    this.gesture = null
    const { canvas } = host
    canvas.addEventListener('pointerdown', (event) => this.down(event))
    canvas.addEventListener('mousedown', (event) => event.preventDefault()) // the focus stays with the keys
    canvas.addEventListener('pointermove', (event) => this.move(event))
    canvas.addEventListener('pointerup', (event) => this.up(event))
    canvas.addEventListener('pointercancel', () => this.cancel())
    canvas.addEventListener('pointerleave', () => host.hover(null))
    canvas.addEventListener('dblclick', (event) => this.doubleClick(event))
    canvas.addEventListener('contextmenu', (event) => { event.preventDefault(); event.stopPropagation() })
    canvas.addEventListener('wheel', (event) => this.wheel(event), { passive: false })
  }

  /** @param {MouseEvent} event @returns {Point} */
  point (event) {
    const box = this.host.canvas.getBoundingClientRect() // right under every zoom
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height]
  }

  /** So many pixels of the page, in fractions. @param {number} pixels @returns {Point} */
  reach (pixels) {
    const box = this.host.canvas.getBoundingClientRect()
    return [pixels / box.width, pixels / box.height]
  }

  /** @param {PointerEvent} event */
  down (event) {
    if (event.button === 1) return this.host.forward(event, 'down')
    event.stopPropagation()
    if (event.button > 2) return
    this.host.focus()
    if (this.gesture) return this.cancel() // a second finger ends what the first began
    const { state, canvas } = this.host
    if (!state.subject) return this.host.needSubject()
    canvas.setPointerCapture(event.pointerId)
    const point = this.point(event)
    const { layout, text: before } = state
    this.gesture = { pointer: event.pointerId, before, layout, start: point, moved: false, move: () => {} }
    if (event.button === 2 || state.tool === 'brush' || state.tool === 'erase') this.paint(event, point)
    else this.shape(event, point)
  }

  /** @param {PointerEvent} event @param {Point} start */
  paint (event, start) {
    const { state } = this.host
    const erase = event.button === 2 || state.tool === 'erase'
    /** @type {Point[]} */
    const points = [start]
    const size = state.brush
    const stroke = () => ({ stroke: simplified(points, Math.min(0.003, size / 12)), size, ...(erase ? { erase } : {}) })
    const show = () => { state.layout = state.withShape(stroke()); state.tell() }
    this.begin((point, moveEvent) => {
      state.layout = this.gesture?.layout ?? state.layout
      for (const each of moveEvent.getCoalescedEvents?.() ?? []) if (points.length < LONGEST_STROKE) points.push(this.point(each))
      if (points.length < LONGEST_STROKE) points.push(point)
      show()
    }, () => {
      state.layout = this.gesture?.layout ?? state.layout
      state.addShape(stroke(), this.gesture?.before)
    })
    show()
  }

  /** @param {PointerEvent} event @param {Point} start */
  shape (event, start) {
    const { state } = this.host
    const handle = this.handleAt(event, start)
    if (handle) return this.resize(handle)
    const hit = event.ctrlKey || event.metaKey ? null : shapeAt(state.layout, start, state.active)
    if (hit) {
      state.select(hit.subject, hit.shape)
      if (event.altKey) {
        state.duplicateShape()
        Object.assign(this.gesture ?? {}, { before: state.text, layout: state.layout })
      }
      return this.drag()
    }
    state.select(state.active, -1)
    this.create(start)
  }

  /** @param {(point: Point, event: PointerEvent) => void} move @param {() => void} [end] */
  begin (move, end) {
    if (this.gesture) Object.assign(this.gesture, { move, end })
  }

  /** @param {Point} start */
  create (start) {
    const { state } = this.host
    const lines = snapLines(state.layout, undefined)
    const from = this.snapped(start, lines)
    const kind = state.tool === 'ellipse' ? 'ellipse' : 'box'
    this.begin((point, event) => {
      let to = this.snapped(point, lines)
      if (event.shiftKey) to = this.squared(from, point)
      state.layout = this.gesture?.layout ?? state.layout
      const [x, y, width, height] = boxBetween(from, to)
      const shape = /** @type {Shape} */ ({ [kind]: [x, y, width, height] })
      if (!hasRoom(state.layout, 0)) return
      const next = state.withShape(fitted(shape, [x, y, width, height]))
      state.layout = next
      state.selected = (next.subjects[state.active]?.shapes.length ?? 0) - 1
      state.tell()
    })
  }

  drag () {
    const { state } = this.host
    const { shape } = state
    if (!shape) return
    const begun = state.layout
    const [x, y, w, h] = boundsOf(shape)
    const lines = snapLines(state.layout, shape)
    const start = this.gesture?.start ?? [0, 0]
    this.begin((point, event) => {
      let [dx, dy] = [point[0] - start[0], point[1] - start[1]]
      if (event.shiftKey) [dx, dy] = Math.abs(dx) > Math.abs(dy) ? [dx, 0] : [0, dy]
      if (state.snap && !event.ctrlKey) {
        const [nearX, nearY] = this.reach(NEAR)
        dx += snapBy([x + dx, x + dx + w / 2, x + dx + w], lines.across, nearX)
        dy += snapBy([y + dy, y + dy + h / 2, y + dy + h], lines.down, nearY)
      }
      state.layout = begun
      this.preview(moved(shape, dx, dy))
    })
  }

  /** @param {string} handle */
  resize (handle) {
    const { state } = this.host
    const { shape } = state
    if (!shape) return
    const begun = state.layout
    const box = boundsOf(shape)
    const lines = snapLines(state.layout, shape)
    const corner = handlePoint(box, handle)
    const start = this.gesture?.start ?? [0, 0]
    this.begin((point, event) => {
      const at = /** @type {Point} */ ([corner[0] + point[0] - start[0], corner[1] + point[1] - start[1]])
      const to = event.ctrlKey ? at : this.snapped(at, lines)
      state.layout = begun
      this.preview(fitted(shape, resized(box, handle, to[0] - corner[0], to[1] - corner[1], event.shiftKey)))
    })
  }

  /** @param {Shape} shape */
  preview (shape) {
    const { state } = this.host
    state.layout = state.withShapes((state.subject?.shapes ?? []).map((each, index) => (index === state.selected ? shape : each)))
    state.tell()
  }

  /** @param {PointerEvent} event @param {Point} point */
  handleAt (event, point) {
    const { shape } = this.host.state
    if (!shape) return undefined
    const [nearX, nearY] = this.reach(event.pointerType === 'mouse' ? NEAR : NEAR_TOUCH)
    const box = boundsOf(shape)
    return HANDLES.find((handle) => {
      const [x, y] = handlePoint(box, handle)
      return Math.abs(point[0] - x) <= nearX && Math.abs(point[1] - y) <= nearY
    })
  }

  /** @param {Point} point @param {{ across: number[], down: number[] }} lines @returns {Point} */
  snapped ([x, y], lines) {
    if (!this.host.state.snap) return [x, y]
    const [nearX, nearY] = this.reach(NEAR)
    return [x + snapBy([x], lines.across, nearX), y + snapBy([y], lines.down, nearY)]
  }

  /** The corner of a square on the page. @param {Point} from @param {Point} to @returns {Point} */
  squared (from, to) {
    const { width, height } = this.host.canvas.getBoundingClientRect()
    const side = Math.max(Math.abs(to[0] - from[0]) * width, Math.abs(to[1] - from[1]) * height)
    return [from[0] + Math.sign(to[0] - from[0] || 1) * side / width, from[1] + Math.sign(to[1] - from[1] || 1) * side / height]
  }

  /** @param {PointerEvent} event */
  move (event) {
    const point = this.point(event)
    this.host.hover(point)
    if (event.buttons === 4) return this.host.forward(event, 'move')
    event.stopPropagation()
    const { gesture } = this
    if (!gesture || event.pointerId !== gesture.pointer) return
    const [nearX, nearY] = this.reach(CLICK)
    gesture.moved ||= Math.abs(point[0] - gesture.start[0]) > nearX || Math.abs(point[1] - gesture.start[1]) > nearY
    if (gesture.moved) gesture.move(point, event)
  }

  /** @param {PointerEvent} event */
  up (event) {
    if (event.button === 1) return this.host.forward(event, 'up')
    event.stopPropagation()
    const { gesture } = this
    if (!gesture || event.pointerId !== gesture.pointer) return
    if (gesture.end) gesture.end()
    else if (gesture.moved) this.host.state.commit(this.host.state.layout, gesture.before)
    this.gesture = null
    this.host.state.tell() // what was held back while it lasted
  }

  cancel () {
    const { gesture } = this
    if (!gesture) return
    this.gesture = null
    this.host.state.show(gesture.layout)
  }

  /** @param {MouseEvent} event */
  doubleClick (event) {
    event.stopPropagation()
    const { state } = this.host
    const hit = shapeAt(state.layout, this.point(event), state.active)
    if (hit && (state.tool === 'box' || state.tool === 'ellipse')) {
      state.select(hit.subject, hit.shape)
      this.host.rename()
    }
  }

  /** With Alt its brush's size (Nodes 2.0 keeps Ctrl for itself); else the graph's own zoom. @param {WheelEvent} event */
  wheel (event) {
    event.preventDefault()
    event.stopPropagation()
    const { state } = this.host
    if ((event.altKey || event.ctrlKey) && (state.tool === 'brush' || state.tool === 'erase')) state.scaleBrush(event.deltaY < 0 ? 1.1 : 1 / 1.1)
    else this.host.forward(event, 'wheel')
  }
}
