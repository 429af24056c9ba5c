// Layouts from other formats, and this one as others read it.
import { emptyLayout, inColumns, LIMITS, newSubject, normalized, rounded } from './document.js'
import { regionMask } from './raster.js'
import { t } from './texts.js'
import { colorMasks, lightMask, outlines, prominentColors } from './trace.js'

/** @typedef {import('./document.js').Layout} Layout @typedef {import('./document.js').Subject} Subject @typedef {import('./document.js').Box} Box @typedef {import('./trace.js').Pixels} Pixels */

/**
 * The layout of a JSON text in any form that is known: ours, a guidance_config.json, or the boxes and elements of
 * ComfyUI's box editor. A config's regions are in its picture: it gives names, colors and weights.
 * @param {string} text @param {{ width: number, height: number }} size of the picture, for boxes in pixels
 * @returns {{ layout: Layout, picture?: string }}
 * @throws an Error whose message says what was found instead
 */
export function layoutFromJson (text, size) {
  if (text.length > LIMITS.characters) throw new Error(t('The file has {count} characters; {limit} is the limit.', { count: text.length, limit: LIMITS.characters }))
  let found
  try {
    found = JSON.parse(text)
  } catch {
    throw new Error(t('The text is not JSON.'))
  }
  const first = Array.isArray(found) ? found[0] : found
  if (first && typeof first === 'object' && Array.isArray(first.subjects)) return { layout: normalized(first) }
  if (first && typeof first === 'object' && first.color_context) return fromConfig(first)
  const boxes = (Array.isArray(first) ? first : Array.isArray(found) ? found : [found]).map((each) => fromBox(each, size)).filter(Boolean)
  if (!boxes.length) throw new Error(t('The JSON is neither a layout, nor a guidance_config.json, nor boxes.'))
  return { layout: named(/** @type {{ name: string, box: Box, color?: string }[]} */ (boxes)) }
}

/** @param {{ color_context: unknown, layout?: unknown }} config @returns {{ layout: Layout, picture?: string }} */
function fromConfig ({ color_context: colors, layout: picture }) {
  if (typeof colors !== 'object' || colors === null || Array.isArray(colors)) throw new Error(t('"color_context" of the config is not an object.'))
  const layout = emptyLayout()
  for (const [color, value] of Object.entries(colors).slice(0, LIMITS.subjects)) {
    const [name, weight] = Array.isArray(value) ? value : [value]
    const rgb = color.replace(/[()\s]/g, '').split(',').map(Number)
    if (typeof name !== 'string' || !name.trim()) continue
    const subject = newSubject(name.trim().slice(0, LIMITS.name), layout.subjects)
    if (rgb.length === 3 && rgb.every((channel) => channel >= 0 && channel <= 255)) subject.color = hex(rgb)
    if (Number.isFinite(weight)) subject.weight = weight
    layout.subjects.push(subject)
  }
  return { layout: inColumns(layout), picture: typeof picture === 'string' ? picture : undefined }
}

/** One box of ComfyUI: pixels as x, y, width, height; or an element's bbox in thousandths as top, left, bottom, right. @param {any} each @param {{ width: number, height: number }} size */
function fromBox (each, size) {
  if (typeof each !== 'object' || each === null) return null
  const name = [each.desc, each.description, each.name, each.label, each.text].find((text) => typeof text === 'string' && text.trim())
  const color = [each.color, ...(Array.isArray(each.color_palette) ? each.color_palette : [])].find((text) => /^#[0-9a-f]{6}$/i.test(text))
  const more = { name: name?.trim().slice(0, LIMITS.name) ?? '', color }
  const corners = each.bbox
  if (Array.isArray(corners) && corners.length === 4 && corners.every(Number.isFinite)) {
    const [top, left, bottom, right] = corners.map((side) => rounded(side / 1000))
    return { ...more, box: [left, top, rounded(right - left), rounded(bottom - top)] }
  }
  const sides = [each.x, each.y, each.width, each.height]
  if (!sides.every(Number.isFinite)) return null
  const fractions = sides.every((side) => side <= 1)
  return { ...more, box: sides.map((side, index) => rounded(fractions ? side : side / (index % 2 ? size.height : size.width))) }
}

/** @param {{ name: string, box: Box, color?: string }[]} boxes @returns {Layout} */
function named (boxes) {
  /** @type {Subject[]} */
  const subjects = []
  for (const [index, { name, box, color }] of boxes.slice(0, LIMITS.subjects).entries()) {
    subjects.push({ ...newSubject(name || `subject ${index + 1}`, subjects), ...(color ? { color: color.toLowerCase() } : {}), shapes: [{ box }] })
  }
  return normalized({ subjects })
}

/**
 * The regions of a picture painted in flat colors. Colors that the layout knows keep their subjects; others get the
 * names that are left, else a number.
 * @param {Pixels} pixels @param {Layout} layout @param {boolean} byOrder whether its subjects may take other colors
 * @returns {Layout}
 * @throws an Error when the picture is not painted in colors
 */
export function layoutFromColors (pixels, layout, byOrder = true) {
  const colors = prominentColors(pixels).slice(0, LIMITS.subjects)
  if (!colors.length) throw new Error(t('The picture has only black, white and gray: paint each subject in a color of its own.'))
  const masks = colorMasks(pixels, colors)
  const left = [...layout.subjects]
  const known = colors.map((color) => takeNearest(left, color))
  const subjects = layout.subjects.map((subject) => ({ ...subject, shapes: /** @type {import('./document.js').Shape[]} */ ([]) }))
  colors.forEach((color, index) => {
    const found = known[index] ?? (byOrder ? left.shift() : undefined)
    const at = found ? layout.subjects.indexOf(found) : subjects.length
    const subject = subjects[at] ?? newSubject(`subject ${index + 1}`, subjects)
    subjects[at] = { ...subject, color: hex(color), shapes: outlines(masks[index], pixels.height, pixels.width) }
  })
  return normalized({ subjects })
}

/** The subject of about this color, taken from the list. @param {Subject[]} subjects @param {number[]} color */
function takeNearest (subjects, color) {
  const near = subjects.findIndex((subject) => Math.hypot(...channels(subject.color).map((channel, index) => channel - color[index])) <= 48)
  return near < 0 ? undefined : subjects.splice(near, 1)[0]
}

/** The shapes around the light part of a mask picture. @param {Pixels} pixels */
export function shapesFromMask (pixels) {
  const shapes = outlines(lightMask(pixels), pixels.height, pixels.width)
  if (!shapes.length) throw new Error(t('The mask is empty: the subject must be white.'))
  return shapes
}

/** Whether a picture has colors. @param {Pixels} pixels */
export const isColored = (pixels) => prominentColors(pixels).length > 0

/** @param {string} color */
export const channels = (color) => [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16))

/** @param {number[]} color */
export const hex = (color) => '#' + color.map((channel) => Math.round(channel).toString(16).padStart(2, '0')).join('')

/** The layout as a flat picture; where regions overlap, the later subject's color. @param {Layout} layout @param {number} height @param {number} width @returns {Uint8ClampedArray<ArrayBuffer>} */
export function layoutPixels (layout, height, width) {
  const data = new Uint8ClampedArray(height * width * 4).fill(255)
  for (const subject of layout.subjects) {
    const color = channels(subject.color)
    regionMask(subject.shapes, height, width).forEach((set, cell) => set && data.set(color, cell * 4))
  }
  return data
}

/** The table of Color Layout to Masks. @param {Layout} layout */
export const colorTable = (layout) => layout.subjects.map(({ color, name, weight }) => `${color} = ${name} @ ${weight}`).join('\n')
