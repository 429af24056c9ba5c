// Shapes as masks, cell by cell as cones2/layout/raster.py draws them; tests/web/vectors.json holds both to it. A cell
// belongs to a shape when its center does: what begins at a center has it, what ends there has not.

/** @typedef {import('./document.js').Shape} Shape @typedef {import('./document.js').Point} Point @typedef {import('./document.js').Box} Box */

/**
 * The shapes of one subject, drawn one after the other: 0 or 1 per cell, row by row.
 * @param {Shape[]} shapes @param {number} height @param {number} width @returns {Uint8Array}
 */
export function regionMask (shapes, height, width) {
  const mask = new Uint8Array(height * width)
  for (const shape of shapes) {
    const drawn = shapeMask(shape, height, width)
    for (let cell = 0; cell < mask.length; cell++) {
      if (drawn[cell]) mask[cell] = shape.erase ? 0 : 1
    }
  }
  return mask
}

/** @param {Shape} shape @param {number} height @param {number} width @returns {Uint8Array} */
export function shapeMask (shape, height, width) {
  const steps = new Int32Array(height * (width + 1))
  if (shape.polygon) addCrossings(steps, shape.polygon, height, width)
  else addSpans(steps, shape, height, width)
  const mask = new Uint8Array(height * width)
  const odd = Boolean(shape.polygon)
  let any = false
  for (let row = 0; row < height; row++) {
    let count = 0
    for (let column = 0; column < width; column++) {
      count += steps[row * (width + 1) + column]
      const inside = odd ? count % 2 === 1 : count > 0
      if (inside) {
        mask[row * width + column] = 1
        any = true
      }
    }
  }
  if (!any) setMiddle(mask, shape, height, width)
  return mask
}

/** @param {Int32Array} steps @param {Shape} shape @param {number} height @param {number} width */
function addSpans (steps, shape, height, width) {
  /** @param {number} row @param {number} left @param {number} right */
  const cover = (row, left, right) => {
    const first = cell(left, width)
    const end = cell(right, width)
    if (end <= first) return
    steps[row * (width + 1) + first] += 1
    steps[row * (width + 1) + end] -= 1
  }
  if (shape.box) rectangle(shape.box, height, width, cover)
  else if (shape.ellipse) ellipse(shape.ellipse, height, width, cover)
  else stroke(shape, height, width, cover)
}

/** @typedef {(row: number, left: number, right: number) => void} Cover */

/** @param {Box} box @param {number} height @param {number} width @param {Cover} cover */
function rectangle ([x, y, w, h], height, width, cover) {
  const left = x * width
  const right = (x + w) * width
  eachRow(y * height, (y + h) * height, height, (row) => cover(row, left, right))
}

/** @param {Box} box @param {number} height @param {number} width @param {Cover} cover */
function ellipse ([x, y, w, h], height, width, cover) {
  const centerX = (x + w / 2) * width
  const centerY = (y + h / 2) * height
  const radiusX = w / 2 * width
  const radiusY = h / 2 * height
  if (!(radiusY > 0)) return
  eachRow(y * height, (y + h) * height, height, (row) => {
    const away = (row + 0.5 - centerY) / radiusY
    const half = radiusX * Math.sqrt(Math.max(1 - away * away, 0))
    cover(row, centerX - half, centerX + half)
  })
}

/** @param {Shape} shape @param {number} height @param {number} width @param {Cover} cover */
function stroke ({ stroke: points = [], size = 0 }, height, width, cover) {
  const radius = size / 2 * Math.min(height, width)
  const cells = inCells(points, height, width)
  for (const [x, y] of cells) {
    eachRow(y - radius, y + radius, height, (row) => {
      const away = row + 0.5 - y
      const half = Math.sqrt(Math.max(radius * radius - away * away, 0))
      cover(row, x - half, x + half)
    })
  }
  for (let index = 1; index < cells.length; index++) between(cells[index - 1], cells[index], radius, height, cover)
}

/** The rectangle of width 2 · radius around a line. @param {Point} start @param {Point} end @param {number} radius @param {number} height @param {Cover} cover */
function between ([x0, y0], [x1, y1], radius, height, cover) {
  const alongX = x1 - x0
  const alongY = y1 - y0
  const length = Math.sqrt(alongX * alongX + alongY * alongY)
  if (length === 0) return
  const asideX = -alongY / length * radius
  const asideY = alongX / length * radius
  /** @type {Point[]} */
  const corners = [[x0 + asideX, y0 + asideY], [x1 + asideX, y1 + asideY], [x1 - asideX, y1 - asideY], [x0 - asideX, y0 - asideY]]
  /** @type {Map<number, Point>} */
  const spans = new Map()
  corners.forEach((corner, index) => eachCrossing(corner, corners[(index + 1) % 4], height, (row, at) => {
    const span = spans.get(row)
    spans.set(row, span ? [Math.min(span[0], at), Math.max(span[1], at)] : [at, at])
  }))
  for (const [row, [left, right]] of spans) if (left < right) cover(row, left, right)
}

/** @param {Int32Array} steps @param {Point[]} points @param {number} height @param {number} width */
function addCrossings (steps, points, height, width) {
  const cells = inCells(points, height, width)
  cells.forEach((start, index) => eachCrossing(start, cells[(index + 1) % cells.length], height, (row, at) => {
    steps[row * (width + 1) + cell(at, width)] += 1
  }))
}

/** @param {Point} start @param {Point} end @param {number} height @param {(row: number, at: number) => void} found */
function eachCrossing ([x0, y0], [x1, y1], height, found) {
  eachRow(Math.min(y0, y1), Math.max(y0, y1), height, (row) => {
    const below = row + 0.5 - y0
    found(row, x0 + below * (x1 - x0) / (y1 - y0))
  })
}

/** @param {number} top @param {number} bottom @param {number} height @param {(row: number) => void} found */
function eachRow (top, bottom, height, found) {
  const end = cell(bottom, height)
  for (let row = cell(top, height); row < end; row++) found(row)
}

/** The first cell whose center is not before the edge. @param {number} edge @param {number} length */
const cell = (edge, length) => Math.min(length, Math.max(0, Math.ceil(edge - 0.5)))

/** @param {Point[]} points @param {number} height @param {number} width @returns {Point[]} */
const inCells = (points, height, width) => points.map(([x, y]) => [x * width, y * height])

/** A shape between the centers takes the cell that its middle is in. @param {Uint8Array} mask @param {Shape} shape @param {number} height @param {number} width */
function setMiddle (mask, shape, height, width) {
  const box = shape.box ?? shape.ellipse
  const points = shape.polygon ?? shape.stroke ?? []
  const across = points.map(([x]) => x)
  const down = points.map(([, y]) => y)
  const x = box ? box[0] + box[2] / 2 : (Math.min(...across) + Math.max(...across)) / 2
  const y = box ? box[1] + box[3] / 2 : (Math.min(...down) + Math.max(...down)) / 2
  if (x >= 0 && x < 1 && y >= 0 && y < 1) mask[Math.trunc(y * height) * width + Math.trunc(x * width)] = 1
}
