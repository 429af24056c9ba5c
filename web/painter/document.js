// The layout document: what is drawn for each subject, in fractions of the picture. cones2/layout/document.py reads it
// with the same limits and the same columns.

/**
 * @typedef {[number, number]} Point
 * @typedef {[number, number, number, number]} Box  left, top, width, height
 * @typedef {{ box?: Box, ellipse?: Box, polygon?: Point[], stroke?: Point[], size?: number, erase?: boolean }} Shape
 * @typedef {{ name: string, color: string, weight: number, residual?: string, strength?: number, shapes: Shape[] }} Subject
 * @typedef {{ version: number, subjects: Subject[] }} Layout
 */

export const VERSION = 1
export const DEFAULT_WEIGHT = 2.5
export const LIMITS = { subjects: 32, shapes: 256, points: 10000, characters: 1000000, name: 200, file: 500 }

// Hues that color-blind people tell apart (Okabe and Ito 2008; the last is Tol's wine).
export const PALETTE = ['#e69f00', '#56b4e9', '#009e73', '#f0e442', '#0072b2', '#d55e00', '#cc79a7', '#882255']

const LOW = -4
const HIGH = 5
const LONGEST = 9

/** @type {(value: unknown) => value is Record<string, unknown>} */
const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value)

/** @param {unknown} value @param {number} low @param {number} high @param {number} otherwise */
function number (value, low, high, otherwise) {
  return typeof value === 'number' && Number.isFinite(value) ? Math.min(high, Math.max(low, value)) : otherwise
}

/** @param {number} value */
export const rounded = (value) => Math.round(value * 10000) / 10000 + 0 // never -0

/** A color no other subject has yet. @param {Subject[]} subjects */
export function freeColor (subjects) {
  const taken = new Set(subjects.map((subject) => subject.color))
  return PALETTE.find((color) => !taken.has(color)) ?? PALETTE[subjects.length % PALETTE.length]
}

/** Boxes for so many subjects side by side, with room around each. @param {number} count @returns {Box[]} */
export function columns (count) {
  return Array.from({ length: count }, (_, index) => [
    rounded((index + 0.1) / count), 0.15, rounded(0.8 / count), 0.7
  ])
}

/** @param {string} name @param {Subject[]} others @returns {Subject} */
export function newSubject (name, others) {
  return { name, color: freeColor(others), weight: DEFAULT_WEIGHT, shapes: [] }
}

/** Whether nobody has drawn anything: all subjects stand where they were put. @param {Layout} layout */
export function isUntouched (layout) {
  const boxes = columns(layout.subjects.length)
  return layout.subjects.every(({ shapes }, index) =>
    shapes.length === 0 || (shapes.length === 1 && JSON.stringify(shapes[0]) === JSON.stringify({ box: boxes[index] })))
}

/** The layout with its subjects side by side. @param {Layout} layout @returns {Layout} */
export function inColumns (layout) {
  const boxes = columns(layout.subjects.length)
  return { ...layout, subjects: layout.subjects.map((subject, index) => ({ ...subject, shapes: [{ box: boxes[index] }] })) }
}

/** @returns {Layout} */
export const emptyLayout = () => ({ version: VERSION, subjects: [] })

/**
 * The layout of a widget's text, made whole: what cannot be drawn is dropped. An unreadable text is an empty layout.
 * @param {unknown} text
 * @returns {Layout}
 */
export function parseLayout (text) {
  let found
  try {
    found = typeof text === 'string' && text.length <= LIMITS.characters ? JSON.parse(text) : text
  } catch {
    return emptyLayout()
  }
  return isObject(found) ? normalized(found) : emptyLayout()
}

/** Whether a text says something that cannot be read here, such as a newer version's layout. @param {unknown} text */
export function isForeign (text) {
  if (typeof text !== 'string' || !text.trim()) return false
  try {
    const found = JSON.parse(text)
    return !isObject(found) || (found.version ?? VERSION) !== VERSION
  } catch {
    return true
  }
}

/** @param {Record<string, unknown>} found @returns {Layout} */
export function normalized (found) {
  const entries = Array.isArray(found.subjects) ? found.subjects.filter(isObject).slice(0, LIMITS.subjects) : []
  /** @type {Subject[]} */
  const subjects = []
  const left = { shapes: LIMITS.shapes, points: LIMITS.points }
  for (const entry of entries) {
    const subject = normalizedSubject(entry, subjects, left)
    if (subject) subjects.push(subject)
  }
  const layout = { version: VERSION, subjects }
  return subjects.some((subject) => subject.shapes.length) ? layout : inColumns(layout)
}

/** @param {unknown} text @param {number} length */
const printable = (text, length) => (typeof text === 'string' ? text.replace(/\p{C}/gu, '').trim().slice(0, length) : '')

/**
 * @param {Record<string, unknown>} entry @param {Subject[]} others @param {{ shapes: number, points: number }} left
 * @returns {Subject | null}
 */
function normalizedSubject (entry, others, left) {
  const name = printable(entry.name, LIMITS.name)
  if (!name) return null
  const color = typeof entry.color === 'string' && /^#[0-9a-f]{6}$/i.test(entry.color) ? entry.color.toLowerCase() : freeColor(others)
  /** @type {Subject} */
  const subject = { name, color, weight: number(entry.weight, -1e6, 1e6, DEFAULT_WEIGHT), shapes: [] }
  const residual = printable(entry.residual, LIMITS.file)
  if (residual) Object.assign(subject, { residual, strength: number(entry.strength, -10, 10, 1) })
  for (const value of Array.isArray(entry.shapes) ? entry.shapes : []) {
    const shape = left.shapes > 0 && isObject(value) ? normalizedShape(value) : null
    const points = shape ? (shape.polygon ?? shape.stroke ?? []).length : 0
    if (!shape || points > left.points) continue
    left.shapes -= 1
    left.points -= points
    subject.shapes.push(shape)
  }
  return subject
}

/** @param {Record<string, unknown>} value @returns {Shape | null} */
function normalizedShape (value) {
  const erase = value.erase === true ? { erase: true } : {}
  if (value.box !== undefined || value.ellipse !== undefined) {
    const box = normalizedBox(value.box ?? value.ellipse)
    if (!box) return null
    return value.box !== undefined ? { box, ...erase } : { ellipse: box, ...erase }
  }
  const points = normalizedPoints(value.polygon ?? value.stroke)
  if (!points.length) return null
  if (value.polygon !== undefined) return { polygon: points, ...erase }
  return { stroke: points, size: number(value.size, 0, LONGEST, 0.05), ...erase }
}

/** @param {unknown} value @returns {Box | null} */
function normalizedBox (value) {
  if (!Array.isArray(value) || value.length !== 4 || !value.every(Number.isFinite)) return null
  const [left, top, width, height] = value
  return [number(left, LOW, HIGH, 0), number(top, LOW, HIGH, 0), number(width, 0, LONGEST, 0), number(height, 0, LONGEST, 0)]
}

/** @param {unknown} value @returns {Point[]} */
function normalizedPoints (value) {
  if (!Array.isArray(value)) return []
  return value.slice(0, LIMITS.points)
    .filter((point) => Array.isArray(point) && point.length === 2 && point.every(Number.isFinite))
    .map(([x, y]) => [number(x, LOW, HIGH, 0), number(y, LOW, HIGH, 0)])
}

/** @param {Layout} layout */
export const layoutText = (layout) => (layout.subjects.length ? JSON.stringify(layout) : '')

/** Whether another shape of so many points fits into the limits. @param {Layout} layout @param {number} points */
export function hasRoom (layout, points) {
  const shapes = layout.subjects.flatMap((subject) => subject.shapes)
  const used = shapes.reduce((sum, shape) => sum + (shape.polygon ?? shape.stroke ?? []).length, 0)
  return shapes.length < LIMITS.shapes && used + points <= LIMITS.points
}
