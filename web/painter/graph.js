// What the graph around a painter says: its subjects, its prompt, its background.

/**
 * What is used of the frontend's nodes, so that tests need no frontend.
 * @typedef {{ id: any, type: string, comfyClass?: string, graph?: any, inputs?: any[], outputs?: any[], widgets?: any[], properties?: Record<string, any>, imgs?: HTMLImageElement[] }} GraphNode
 *
 * @typedef {{ names: string[], files: Record<string, string>, prompt: string | null }} Surroundings
 *   files: of linked residuals, by their names in small letters; prompt: null when none is in sight
 */

const MOST_NODES = 200 // looked at on the way up
const SUBGRAPH_INPUT = '-10' // what links inside a subgraph begin at that come in from outside
const FOLLOWING = { Cones2LayoutGuidedKSampler: 'positive', Cones2ApplyLayoutGuidance: 'conditioning' }
const STOPS = /^(the|and|with|for|from|into|onto|near|under|over|its|his|her|their|this|that|are|was|very|photo|picture|painting|style)$/

/** @param {GraphNode} node @param {string} name */
export const widgetOf = (node, name) => node.widgets?.find((widget) => widget.name === name)

/** @param {GraphNode} node */
const kind = (node) => node.comfyClass ?? node.type

/** @param {any} graph @param {any} id */
const linkOf = (graph, id) => graph.getLink?.(id) ?? graph.links?.get?.(id) ?? graph.links?.[id]

/** The link of an input. @param {GraphNode} node @param {string} name */
function incoming (node, name) {
  const input = node.inputs?.find((each) => each.name === name)
  return input?.link == null ? undefined : linkOf(node.graph, input.link)
}

/** The node that shows a subgraph; the first where several do. @param {any} graph @returns {GraphNode | undefined} */
function hostOf (graph) {
  const root = graph.rootGraph ?? graph
  const graphs = [root, ...(root.subgraphs?.values() ?? [])]
  return graphs.flatMap((each) => each.nodes ?? []).find((each) => each.subgraph === graph)
}

/**
 * The input of the subgraph's own node that an input inside is fed from, if it is.
 * @param {GraphNode} node @param {string} name @param {GraphNode} [host] where several nodes show the subgraph
 * @returns {{ node: GraphNode, name: string } | undefined}
 */
function outerInput (node, name, host) {
  const link = incoming(node, name)
  if (String(link?.origin_id) !== SUBGRAPH_INPUT) return undefined
  const shown = /** @type {any} */ (host)?.subgraph === node.graph ? host : hostOf(node.graph)
  const input = shown?.inputs?.[link.origin_slot]
  return shown && input && { node: shown, name: input.name }
}

/** The node that an input comes from. @param {GraphNode} node @param {string} name @param {GraphNode} [host] @returns {GraphNode | undefined} */
export function originOf (node, name, host) {
  const outer = outerInput(node, name, host)
  if (outer) return originOf(outer.node, outer.name)
  const link = incoming(node, name)
  return link && node.graph.getNodeById(link.origin_id)
}

/** What is typed at a node, or at the subgraph that shows its widget. @param {GraphNode} node @param {string} name @param {GraphNode} [host] @returns {any} */
export function valueOf (node, name, host) {
  const outer = outerInput(node, name, host)
  return outer ? valueOf(outer.node, outer.name) : widgetOf(node, name)?.value
}

/** The nodes that inputs of such names come from. @param {GraphNode} node @param {RegExp} names @param {GraphNode} [host] */
const linkedTo = (node, names, host) => (node.inputs ?? []).filter((input) => names.test(input.name)).map((input) => originOf(node, input.name, host))

/** @param {GraphNode} node @returns {GraphNode[]} */
function targetsOf (node) {
  const links = (node.outputs ?? []).flatMap((output) => output.links ?? []).map((id) => linkOf(node.graph, id))
  return links.filter(Boolean).map((link) => node.graph.getNodeById(link.target_id)).filter(Boolean)
}

/** All nodes that these come from, and themselves. @param {(GraphNode | undefined)[]} nodes @param {GraphNode} [host] @returns {GraphNode[]} */
function upstream (nodes, host) {
  const seen = new Set()
  const waiting = [...nodes]
  while (waiting.length && seen.size < MOST_NODES) {
    const node = waiting.shift()
    if (!node || seen.has(node)) continue
    seen.add(node)
    for (const input of node.inputs ?? []) waiting.push(originOf(node, input.name, host))
    waiting.push(...(/** @type {any} */ (node).subgraph?.nodes ?? []))
  }
  return [...seen]
}

/**
 * The subjects and the prompt that belong to a painter: of its own inputs, of the conditioning that its layout steers, or of
 * the pictures that it places.
 * @param {GraphNode} node
 * @param {GraphNode} [host] the node of the subgraph that it is in, where several show that
 * @param {(file: string) => string} [phraseOf] the phrase of a residual's file; empty while it is not known
 * @returns {Surroundings}
 */
export function surroundings (node, host, phraseOf = nameOfFile) {
  const steered = targetsOf(node).map((target) => originOf(target, FOLLOWING[/** @type {keyof typeof FOLLOWING} */ (kind(target))] ?? '', host))
  const shown = targetsOf(node).filter((target) => kind(target) === 'Cones2ApplyMIPAdapter')
  const linked = [...shown.map((target) => linkedTo(target, /^subjects\./, host)), linkedTo(node, /residual/, host)].flat()
  const around = upstream([...linked, ...steered], host)
  const texts = around.filter((each) => /TextEncode$/.test(kind(each))).map((each) => textOf(each, 'text', host))
  const ownText = widgetOf(node, 'prompt') ? textOf(node, 'prompt', host) : null
  const prompts = [ownText, ...texts].filter((text) => typeof text === 'string')
  const found = around.map((each) => ({ name: subjectOf(each, host, phraseOf), file: cutoutFile(each, host) }))
  const files = found.filter(({ name, file }) => name && file).map(({ name, file }) => [name.toLowerCase(), file])
  return {
    names: [...new Set(found.map(({ name }) => name).filter(Boolean))], files: Object.fromEntries(files), prompt: prompts.length ? prompts.join('\n') : null
  }
}

/** The file whose cut-outs a node gives on: none where photos take their place. @param {GraphNode} node @param {GraphNode} [host] */
function cutoutFile (node, host) {
  return kind(node) === 'Cones2LoadResidual' && !originOf(node, 'photo', host) ? String(valueOf(node, 'file', host) ?? '') : ''
}

/** A node's text, typed or linked. @param {GraphNode} node @param {string} name @param {GraphNode} [host] @returns {string | null} */
function textOf (node, name, host) {
  const origin = originOf(node, name, host)
  if (!origin) return valueOf(node, name, host) ?? ''
  const text = origin.widgets?.find((widget) => typeof widget.value === 'string')?.value
  return origin.inputs?.some((input) => input.link != null) ? null : text ?? null // made by other nodes: unknown
}

/** The subject that a node gives: its typed word, else its file's phrase. @param {GraphNode} node @param {GraphNode | undefined} host @param {(file: string) => string} phraseOf @returns {string} */
function subjectOf (node, host, phraseOf) {
  const said = (/** @type {string} */ name) => String(valueOf(node, name, host) ?? '').trim()
  if (['Cones2TrainResidual', 'Cones2SubjectFromPictures'].includes(kind(node))) return said('subject')
  return kind(node) === 'Cones2LoadResidual' ? said('subject') || phraseOf(said('file')) : ''
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
  const words = name.replace(/\s*\+\s*picture\s+\d+\s*$/i, '') // "dog + picture 1": a word and a reference picture, or that alone
  if (!words.trim() && words !== name) return true
  const [, phrase, number] = words.match(/^(.*?)(?:#(\d+))?$/s) ?? ['', words, '']
  const parts = phrase.trim().toLowerCase().split(/\s+/).map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
  const found = prompt.toLowerCase().match(new RegExp(`(?<![\\p{L}\\p{N}])${parts.join('\\s+')}(?![\\p{L}\\p{N}])`, 'gu')) ?? []
  return found.length >= Number(number || 1)
}

/** The address of the picture that is connected, if it is a file that the page can see. @param {GraphNode} node @param {GraphNode} [host] @returns {string | null} */
export function connectedPicture (node, host) {
  const origin = originOf(node, 'image', host)
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
