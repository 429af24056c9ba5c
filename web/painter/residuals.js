// What the server knows of residual files: asked for once each, kept until somebody says that files may have changed.
import { nameOfFile } from './graph.js'

/** @typedef {{ subject: string, family: string, width: number, pictures: string[] }} Facts  as nodes/host/residual_routes.py gives them */
/** @typedef {{ facts: Facts | null, reason: string, images: HTMLImageElement[] }} Known  without facts: why there are none */

export class Residuals {
  /** @param {(file: string) => Promise<Facts>} ask  fails with an error that says what is wrong with the file */
  constructor (ask) {
    this.ask = ask
    /** @type {Map<string, Promise<Known>>} */
    this.asked = new Map()
    /** @type {Map<string, Known>} */
    this.known = new Map()
  }

  /** @param {string} file @returns {Promise<Known>} */
  load (file) {
    const before = this.asked.get(file)
    if (before) return before
    const asked = this.ask(file).then(
      (facts) => ({ facts, reason: '', images: facts.pictures.map(image) }),
      (error) => ({ facts: null, reason: String(error?.message ?? error), images: [] })
    )
    this.asked.set(file, asked)
    asked.then((known) => { if (this.asked.get(file) === asked) this.known.set(file, known) })
    return asked
  }

  /** What is known by now; asks for the rest. @param {string} file */
  now (file) {
    if (!this.asked.has(file)) this.load(file)
    return this.known.get(file)
  }

  /** The phrase of a file: its own, else the last word of its name; empty while it is not known. @param {string} file */
  phrase (file) {
    const known = this.now(file)
    return known ? known.facts?.subject || nameOfFile(file) : ''
  }

  /** The picture of a subject, its first cut-out; null where there is none, or not yet. @param {string | undefined} file */
  picture (file) {
    const found = file ? this.now(file)?.images[0] : undefined
    return found?.complete && found.naturalWidth ? found : null
  }

  /** Files may have changed: ask again, with what is known until then. */
  forget () {
    this.asked.clear()
  }
}

/** @param {string} address */
const image = (address) => Object.assign(new Image(), { src: address })
