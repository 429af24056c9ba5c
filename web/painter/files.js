// Files in and out of the page: pictures as pixels, texts, downloads.

import { t } from './texts.js'

const MOST_BYTES = 50_000_000
const MOST_SIDE = 512 // pixels of an imported picture's longer side: finer outlines are not kept

/** @param {Blob | string} source a file, or an address @returns {Promise<HTMLImageElement>} */
export async function picture (source) {
  if (source instanceof Blob && source.size > MOST_BYTES) throw new Error(t('The file has {count} bytes; {limit} is the limit.', { count: source.size, limit: MOST_BYTES }))
  const image = new Image()
  const address = source instanceof Blob ? URL.createObjectURL(source) : source
  try {
    image.src = address
    await image.decode()
  } catch {
    throw new Error(t('The file is not a picture that this browser can read.'))
  } finally {
    if (source instanceof Blob) URL.revokeObjectURL(address)
  }
  return image
}

/** The pixels of a picture, reduced. @param {Blob} file @returns {Promise<ImageData>} */
export async function pixelsOf (file) {
  const image = await picture(file)
  const scale = Math.min(1, MOST_SIDE / Math.max(image.naturalWidth, image.naturalHeight))
  const width = Math.max(1, Math.round(image.naturalWidth * scale))
  const height = Math.max(1, Math.round(image.naturalHeight * scale))
  const canvas = Object.assign(document.createElement('canvas'), { width, height })
  const context = canvas.getContext('2d')
  if (!context) throw new Error(t('This browser draws no pictures.'))
  context.imageSmoothingEnabled = false // a blend of two colors would be a third
  context.drawImage(image, 0, 0, width, height)
  return context.getImageData(0, 0, width, height)
}

/** @param {File} file */
export async function textOf (file) {
  if (file.size > MOST_BYTES) throw new Error(t('The file has {count} bytes; {limit} is the limit.', { count: file.size, limit: MOST_BYTES }))
  return file.text()
}

/** Let the browser save something. @param {Blob} blob @param {string} name */
export function download (blob, name) {
  const address = URL.createObjectURL(blob)
  Object.assign(document.createElement('a'), { href: address, download: name }).click()
  setTimeout(() => URL.revokeObjectURL(address), 1000)
}

/** @param {Uint8ClampedArray<ArrayBuffer>} data @param {number} height @param {number} width @returns {Promise<Blob>} */
export function pngOf (data, height, width) {
  const canvas = Object.assign(document.createElement('canvas'), { width, height })
  canvas.getContext('2d')?.putImageData(new ImageData(data, width, height), 0, 0)
  return new Promise((resolve, reject) => canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error(t('The picture cannot be written.'))))))
}

/**
 * Those of the files whose names end as asked for, none of them read yet; too large a one is an error.
 * @template {{ name: string, size: number }} F
 * @param {F[]} files @param {string} accept @returns {F[]}
 */
export function accepted (files, accept) {
  const ours = files.filter((file) => accept.split(',').some((ending) => file.name.toLowerCase().endsWith(ending)))
  const large = ours.find((file) => file.size > MOST_BYTES)
  if (large) throw new Error(`${large.name}: ${t('The file has {count} bytes; {limit} is the limit.', { count: large.size, limit: MOST_BYTES })}`)
  return ours
}

/** Ask for files. @param {string} accept @param {(files: File[]) => void} then */
export function pickFiles (accept, then) {
  const input = Object.assign(document.createElement('input'), { type: 'file', multiple: true, accept })
  input.onchange = () => then([...(input.files ?? [])])
  input.click()
}
