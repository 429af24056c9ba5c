// Nodes 2.0 keeps the place of a node that comes again with the same id, as after its undo, and in it the element of a
// widget that has gone: the new one's takes its place.

const NAME = 'cones2Removed'

const key = (node, element) => `${element.dataset.cones2Kind ?? ''} ${node.id}`

/** Say that an element's widget has gone. */
export function leavePlace (node, element) {
  element.dataset[NAME] = key(node, element)
}

/** Put an element that is nowhere where the one before it still is. */
export function takePlace (node, element) {
  if (element.isConnected) return
  document.querySelector(`[data-cones2-removed="${CSS.escape(key(node, element))}"]`)?.replaceWith(element)
}
