// The picture of a layout: exactly the cells that the engine gives each subject, their names, and what is chosen.
import { textOn } from './elements.js'
import { channels } from './exchange.js'
import { boundsOf, handlePoint, HANDLES, inside } from './geometry.js'
import { regionMask } from './raster.js'

/** @typedef {import('./state.js').PainterState} PainterState @typedef {import('./document.js').Subject} Subject */
/** @typedef {{ picture: HTMLCanvasElement, center: [number, number] | null, room: number, bounds: import('./document.js').Box }} Region  room: width at its center; all in fractions */

const FILL = 0.45
const FAINT = 0.6 // of a cut-out on its region
const MOST_CELLS = 640 // a side; more is not seen

export class Drawing {
  /** @param {HTMLCanvasElement} canvas */
  constructor (canvas) {
    this.canvas = canvas
    /** @type {Map<string, Region>} */
    this.regions = new Map()
  }

  /**
   * @param {PainterState} state
   * @param {{ background: CanvasImageSource | null, cutouts: (HTMLImageElement | null)[], grid: boolean, ratio: number, dark: boolean, pointer: [number, number] | null }} look
   *   cutouts: of each subject
   */
  draw (state, look) {
    const { canvas } = this
    const context = canvas.getContext('2d')
    if (!context || !canvas.width) return
    context.fillStyle = look.dark ? '#191919' : '#fbfbfb'
    context.fillRect(0, 0, canvas.width, canvas.height)
    if (look.background) {
      context.globalAlpha = 0.6
      context.drawImage(look.background, 0, 0, canvas.width, canvas.height)
      context.globalAlpha = 1
    }
    if (look.grid) this.lines(context, look)
    const regions = state.layout.subjects.map((subject) => this.region(subject))
    const order = [...regions.keys()].filter((index) => index !== state.active)
    if (regions.length) order.push(state.active)
    for (const index of order) {
      context.drawImage(regions[index].picture, 0, 0, canvas.width, canvas.height)
      this.cutout(context, regions[index], look.cutouts[index])
    }
    for (const index of order) this.label(context, state.layout.subjects[index], regions[index], index === state.active, look.ratio)
    this.selection(context, state, look.ratio)
    this.brush(context, state, look)
  }

  /** @param {Subject} subject @returns {Region} */
  region (subject) {
    const scale = Math.min(1, MOST_CELLS / Math.max(this.canvas.width, this.canvas.height))
    const width = Math.max(1, Math.round(this.canvas.width * scale))
    const height = Math.max(1, Math.round(this.canvas.height * scale))
    const key = JSON.stringify([width, height, subject.color, subject.shapes])
    const known = this.regions.get(key)
    if (known) return known
    const made = paint(regionMask(subject.shapes, height, width), channels(subject.color), height, width)
    if (this.regions.size > 64) this.regions.clear()
    this.regions.set(key, made)
    return made
  }

  /** What a start from the photos puts into a region. @param {CanvasRenderingContext2D} context @param {Region} region @param {HTMLImageElement | null} cutout */
  cutout (context, { center, bounds }, cutout) {
    if (!center || !cutout) return
    const { width, height } = this.canvas
    const [x, y, w, h] = inside(bounds, cutout.naturalWidth / cutout.naturalHeight * height / width)
    context.globalAlpha = FAINT
    context.drawImage(cutout, x * width, y * height, w * width, h * height)
    context.globalAlpha = 1
  }

  /** @param {CanvasRenderingContext2D} context @param {{ dark: boolean, ratio: number }} look */
  lines (context, { dark, ratio }) {
    context.strokeStyle = dark ? '#ffffff40' : '#00000040'
    context.lineWidth = ratio
    context.beginPath()
    for (const part of [1 / 3, 2 / 3]) {
      context.moveTo(part * this.canvas.width, 0)
      context.lineTo(part * this.canvas.width, this.canvas.height)
      context.moveTo(0, part * this.canvas.height)
      context.lineTo(this.canvas.width, part * this.canvas.height)
    }
    context.stroke()
  }

  /** @param {CanvasRenderingContext2D} context @param {Subject} subject @param {Region} region @param {boolean} active @param {number} ratio */
  label (context, { name, color }, { center, room }, active, ratio) {
    if (!center) return
    context.font = `${active ? 700 : 500} ${13 * ratio}px Inter, system-ui, sans-serif`
    context.textAlign = 'center'
    context.textBaseline = 'middle'
    const text = active ? shortened(context, name, this.canvas.width - 12 * ratio) : shortened(context, name, room * this.canvas.width - 12 * ratio)
    const half = context.measureText(text).width / 2 + 6 * ratio
    const x = Math.min(this.canvas.width - half, Math.max(half, center[0] * this.canvas.width))
    const y = Math.min(this.canvas.height - 11 * ratio, Math.max(11 * ratio, center[1] * this.canvas.height))
    context.fillStyle = color
    context.globalAlpha = 0.9
    context.beginPath()
    context.roundRect(x - half, y - 10 * ratio, 2 * half, 20 * ratio, 5 * ratio)
    context.fill()
    context.globalAlpha = 1
    context.fillStyle = textOn(color)
    context.fillText(text, x, y)
  }

  /** @param {CanvasRenderingContext2D} context @param {PainterState} state @param {number} ratio */
  selection (context, state, ratio) {
    if (!state.shape) return
    const box = boundsOf(state.shape)
    const { width, height } = this.canvas
    for (const [color, dashes] of /** @type {[string, number[]][]} */ ([['#000', []], ['#fff', [4 * ratio, 4 * ratio]]])) {
      context.strokeStyle = color
      context.lineWidth = 1.5 * ratio
      context.setLineDash(dashes)
      context.strokeRect(box[0] * width, box[1] * height, box[2] * width, box[3] * height)
    }
    context.setLineDash([])
    for (const handle of HANDLES) {
      const [x, y] = handlePoint(box, handle)
      context.fillStyle = '#fff'
      context.strokeStyle = '#000'
      context.beginPath()
      context.rect(x * width - 4 * ratio, y * height - 4 * ratio, 8 * ratio, 8 * ratio)
      context.fill()
      context.stroke()
    }
  }

  /** @param {CanvasRenderingContext2D} context @param {PainterState} state @param {{ pointer: [number, number] | null, ratio: number }} look */
  brush (context, state, { pointer, ratio }) {
    if (!pointer || (state.tool !== 'brush' && state.tool !== 'erase')) return
    const radius = state.brush / 2 * Math.min(this.canvas.width, this.canvas.height)
    for (const [color, width] of /** @type {[string, number][]} */ ([['#000', 3], ['#fff', 1]])) {
      context.strokeStyle = color
      context.lineWidth = width * ratio
      context.beginPath()
      context.arc(pointer[0] * this.canvas.width, pointer[1] * this.canvas.height, radius, 0, 2 * Math.PI)
      context.stroke()
    }
  }
}

/** @param {Uint8Array} mask @param {number[]} color @param {number} height @param {number} width @returns {Region} */
function paint (mask, color, height, width) {
  const pixels = new ImageData(width, height)
  const set = (/** @type {number} */ x, /** @type {number} */ y) => x >= 0 && y >= 0 && x < width && y < height && mask[y * width + x] === 1
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (!mask[y * width + x]) continue
      const edge = !(set(x - 2, y) && set(x + 2, y) && set(x, y - 2) && set(x, y + 2))
      pixels.data.set([...color, Math.round(255 * (edge ? 1 : FILL))], (y * width + x) * 4)
    }
  }
  const picture = document.createElement('canvas')
  Object.assign(picture, { width, height })
  picture.getContext('2d')?.putImageData(pixels, 0, 0)
  const center = deepest(mask, height, width)
  return { picture, center, room: center ? roomAt(mask, height, width, center) : 0, bounds: boundsOfMask(mask, height, width) }
}

/** The box around a mask, in fractions. @param {Uint8Array} mask @param {number} height @param {number} width @returns {import('./document.js').Box} */
function boundsOfMask (mask, height, width) {
  let [left, top, right, bottom] = [width, height, 0, 0]
  mask.forEach((set, cell) => {
    if (!set) return
    const [x, y] = [cell % width, Math.trunc(cell / width)]
    ;[left, top, right, bottom] = [Math.min(left, x), Math.min(top, y), Math.max(right, x + 1), Math.max(bottom, y + 1)]
  })
  return [left / width, top / height, Math.max(0, right - left) / width, Math.max(0, bottom - top) / height]
}

/** How wide a mask is at a place, in fractions. @param {Uint8Array} mask @param {number} height @param {number} width @param {[number, number]} place */
function roomAt (mask, height, width, [x, y]) {
  const row = Math.trunc(y * height) * width
  const middle = Math.trunc(x * width)
  let [left, right] = [middle, middle]
  while (left > 0 && mask[row + left - 1]) left -= 1
  while (right < width - 1 && mask[row + right + 1]) right += 1
  return (right - left + 1) / width
}

/** As much of a name as there is room for, one letter at least. @param {CanvasRenderingContext2D} context @param {string} name @param {number} room in pixels of the canvas */
function shortened (context, name, room) {
  if (context.measureText(name).width <= room) return name
  let length = Math.min(name.length, 40)
  while (length > 1 && context.measureText(`${name.slice(0, length)}…`).width > room) length -= 1
  return `${name.slice(0, length)}…`
}

/** The middle of where a mask is widest, in fractions: a name there lies on its region. @param {Uint8Array} mask @param {number} height @param {number} width @returns {[number, number] | null} */
function deepest (mask, height, width) {
  const depth = new Uint16Array(mask.length)
  const at = (/** @type {number} */ x, /** @type {number} */ y) => (x >= 0 && y >= 0 && x < width && y < height ? depth[y * width + x] : 0)
  for (let y = 0; y < height; y++) { // steps to the nearest edge above or to the left, then to any
    for (let x = 0; x < width; x++) if (mask[y * width + x]) depth[y * width + x] = 1 + Math.min(at(x - 1, y), at(x, y - 1))
  }
  let [most, count, sumX, sumY] = [0, 0, 0, 0]
  for (let y = height - 1; y >= 0; y--) {
    for (let x = width - 1; x >= 0; x--) {
      if (!mask[y * width + x]) continue
      const here = Math.min(depth[y * width + x], 1 + Math.min(at(x + 1, y), at(x, y + 1)))
      depth[y * width + x] = here
      if (here > most + 1) [most, count, sumX, sumY] = [here, 0, 0, 0]
      if (here < most) continue
      // of a ridge, such as in the middle of a long box, the middle
      count += 1
      sumX += x + 0.5
      sumY += y + 0.5
    }
  }
  return count ? nearestInside(mask, height, width, sumX / count, sumY / count) : null
}

/** @param {Uint8Array} mask @param {number} height @param {number} width @param {number} x @param {number} y @returns {[number, number]} */
function nearestInside (mask, height, width, x, y) {
  let [best, bestX, bestY] = [Infinity, x, y]
  for (let cell = 0; cell < mask.length; cell++) {
    if (!mask[cell]) continue
    const [cellX, cellY] = [cell % width + 0.5, Math.trunc(cell / width) + 0.5]
    const away = (cellX - x) ** 2 + (cellY - y) ** 2
    if (away < best) [best, bestX, bestY] = [away, cellX, cellY]
  }
  return [bestX / width, bestY / height]
}
