// What the graph around a painter says: its subjects, its prompt, its background.

/**
 * What is used of the frontend's nodes, so that tests need no frontend.
 * @typedef {{ id: any, type: string, comfyClass?: string, graph?: any, inputs?: any[], outputs?: any[], widgets?: any[], properties?: Record<string, any>, imgs?: HTMLImageElement[] }} GraphNode
 */

const MOST_NODES = 200 // looked at on the way up
const FOLLOWING = { Cones2LayoutGuidedKSampler: 'positive', Cones2ApplyLayoutGuidance: 'conditioning' }
const STOPS = /^(the|and|with|for|from|into|onto|near|under|over|its|his|her|their|this|that|are|was|very|photo|picture|painting|style)$/

/** @param {GraphNode} node @param {string} name */
export const widgetOf = (node, name) => node.widgets?.find((widget) => widget.name === name)

/** @param {GraphNode} node */
const kind = (node) => node.comfyClass ?? node.type

/** @param {any} graph @param {any} id */
const linkOf = (graph, id) => graph.getLink?.(id) ?? graph.links?.get?.(id) ?? graph.links?.[id]

/** The node that an input comes from. @param {GraphNode} node @param {string} name @returns {GraphNode | undefined} */
export function originOf (node, name) {
  const input = node.inputs?.find((each) => each.name === name)
  const link = input?.link == null ? undefined : linkOf(node.graph, input.link)
  return link && node.graph.getNodeById(link.origin_id)
}

/** The nodes that inputs of such names come from. @param {GraphNode} node @param {RegExp} names */
const linkedTo = (node, names) => (node.inputs ?? []).filter((input) => names.test(input.name)).map((input) => originOf(node, input.name))

/** @param {GraphNode} node @returns {GraphNode[]} */
function targetsOf (node) {
  const links = (node.outputs ?? []).flatMap((output) => output.links ?? []).map((id) => linkOf(node.graph, id))
  return links.filter(Boolean).map((link) => node.graph.getNodeById(link.target_id)).filter(Boolean)
}

/** All nodes that these come from, and themselves. @param {(GraphNode | undefined)[]} nodes @returns {GraphNode[]} */
function upstream (nodes) {
  const seen = new Set()
  const waiting = [...nodes]
  while (waiting.length && seen.size < MOST_NODES) {
    const node = waiting.shift()
    if (!node || seen.has(node)) continue
    seen.add(node)
    for (const input of node.inputs ?? []) waiting.push(originOf(node, input.name))
  }
  return [...seen]
}

/**
 * The subjects and the prompt that belong to a painter: of its own inputs, of the conditioning that its layout steers, or of
 * the pictures that it places.
 * @param {GraphNode} node
 * @returns {{ names: string[], prompt: string | null }} null when no prompt is in sight
 */
export function surroundings (node) {
  const steered = targetsOf(node).map((target) => originOf(target, FOLLOWING[/** @type {keyof typeof FOLLOWING} */ (kind(target))] ?? ''))
  const shown = targetsOf(node).filter((target) => kind(target) === 'Cones2ApplyMIPAdapter')
  const linked = [...shown.map((target) => linkedTo(target, /^subjects\./)), linkedTo(node, /residual/)].flat()
  const around = upstream([...linked, ...steered])
  const texts = around.filter((each) => /TextEncode$/.test(kind(each))).map((each) => textOf(each, 'text'))
  const ownText = widgetOf(node, 'prompt') ? textOf(node, 'prompt') : null
  const prompts = [ownText, ...texts].filter((text) => typeof text === 'string')
  return { names: [...new Set(around.map(subjectOf).filter(Boolean))], prompt: prompts.length ? prompts.join('\n') : null }
}

/** A node's text, typed or linked. @param {GraphNode} node @param {string} name @returns {string | null} */
function textOf (node, name) {
  const origin = originOf(node, name)
  if (!origin) return widgetOf(node, name)?.value ?? ''
  const text = origin.widgets?.find((widget) => typeof widget.value === 'string')?.value
  return origin.inputs?.some((input) => input.link != null) ? null : text ?? null // made by other nodes: unknown
}

/** The subject that a node gives: its typed word, else its file's name. @param {GraphNode} node @returns {string} */
function subjectOf (node) {
  if (['Cones2TrainResidual', 'Cones2SubjectFromPictures'].includes(kind(node))) return String(widgetOf(node, 'subject')?.value ?? '').trim()
  if (kind(node) !== 'Cones2LoadResidual') return ''
  return String(widgetOf(node, 'subject')?.value ?? '').trim() || nameOfFile(String(widgetOf(node, 'file')?.value ?? ''))
}

/** "pets/blue_white_dog.safetensors" → "dog": the last word of a file's name is the kind of thing. @param {string} file */
export function nameOfFile (file) {
  const stem = (file.split(/[\\/]/).pop() ?? '').replace(/\.[^.]*$/, '')
  return stem.split(/[_\s]+/).filter(Boolean).pop() ?? ''
}

/** Words of a prompt that may be subjects, in their order. @param {string} prompt */
export function promptWords (prompt) {
  const words = prompt.replace(/<[^>]*>|embedding:\S+|\[region[^\]]*\]/gi, ' ').match(/[\p{L}\p{M}'-]{3,}/gu) ?? []
  return [...new Set(words.filter((word) => !STOPS.test(word.toLowerCase())))].slice(0, 40)
}

/** Whether the prompt has a subject's phrase, as often as its number says. @param {string} prompt @param {string} name */
export function isInPrompt (prompt, name) {
  const [, phrase, number] = name.match(/^(.*?)(?:#(\d+))?$/s) ?? ['', name, '']
  const parts = phrase.trim().toLowerCase().split(/\s+/).map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
  const found = prompt.toLowerCase().match(new RegExp(`(?<![\\p{L}\\p{N}])${parts.join('\\s+')}(?![\\p{L}\\p{N}])`, 'gu')) ?? []
  return found.length >= Number(number || 1)
}

/** The address of the picture that is connected, if it is a file that the page can see. @param {GraphNode} node @returns {string | null} */
export function connectedPicture (node) {
  const origin = originOf(node, 'image')
  if (!origin) return null
  const file = widgetOf(origin, 'image')?.value
  if (kind(origin) === 'LoadImage' && typeof file === 'string') return fileAddress({ filename: file, type: 'input' })
  return origin.imgs?.[0]?.src ?? null
}

/** @param {{ filename: string, subfolder?: string, type?: string }} file */
export function fileAddress ({ filename, subfolder = '', type = 'output' }) {
  const at = filename.lastIndexOf('/')
  const folder = at < 0 ? subfolder : filename.slice(0, at)
  return '/view?' + new URLSearchParams({ filename: filename.slice(at + 1), subfolder: folder, type })
}
