// What nodes with an upload have in common: dropped files, a list that gets a new entry, a message.
import { app } from '../../scripts/app.js'

/** Choose a value of a combo, which it may not have had. */
export function choose (widget, value) {
  const values = widget.options.values
  if (Array.isArray(values) && !values.includes(value)) values.push(value)
  widget.value = value
  widget.callback?.(value)
  app.graph.setDirtyCanvas(true, true)
}

/** Say what went wrong, under the name of the node. */
export function tell (summary, detail) {
  app.extensionManager.toast.add({ severity: 'error', summary, detail, life: 8000 })
}

/** Take dropped files: `isOurs` of their names decides, `take` gets them all. */
export function takeDrops (node, isOurs, take) {
  node.onDragOver = (event) => [...(event?.dataTransfer?.items ?? [])].some((item) => item.kind === 'file')
  node.onDragDrop = async (event) => {
    const files = [...(event?.dataTransfer?.files ?? [])]
    if (!files.some((file) => isOurs(file.name.toLowerCase()))) return false
    await take(files)
    return true
  }
}
