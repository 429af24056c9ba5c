// Settings that hardly anybody needs are out of sight until they are asked for. Nodes 2.0 does so by itself; the classic
// renderer knows no such thing of the schema's, so here is its button.
import { app } from '../../scripts/app.js'
import { speak, t } from './painter/texts.js'

function show (node, advanced, button, shown) {
  node.showAdvanced = shown // in Vue nodes
  for (const widget of advanced) widget.hidden = !shown // on the canvas
  button.label = shown ? t('fewer settings') : t('more settings')
  const [, height] = node.computeSize()
  node.setSize([node.size[0], height])
  node.setDirtyCanvas?.(true, true)
}

app.registerExtension({
  name: 'cones2.advanced',
  nodeCreated (node) {
    if (!node.comfyClass?.startsWith('Cones2')) return
    const advanced = (node.widgets ?? []).filter((widget) => widget.options?.advanced)
    if (!advanced.length) return
    speak(app.extensionManager?.setting?.get?.('Comfy.Locale'))
    const defaults = new Map(advanced.map((widget) => [widget, widget.value]))
    const button = node.addWidget('button', 'more_settings', null, () => show(node, advanced, button, advanced[0].hidden), {
      serialize: false, canvasOnly: true
    })
    button.serialize = false
    const { onConfigure } = node
    node.onConfigure = function (...values) { // what a workflow sets is in sight
      onConfigure?.apply(this, values)
      const shown = advanced.some((widget) => widget.value !== defaults.get(widget))
      if (shown === advanced[0].hidden) show(node, advanced, button, shown)
    }
    show(node, advanced, button, false)
  }
})
