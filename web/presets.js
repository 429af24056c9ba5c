// A preset takes the place of the widgets that it names: they are gray while one is chosen.
import { app } from '../../scripts/app.js'

const NODES = ['Cones2ApplyLayoutGuidance', 'Cones2LayoutGuidedKSampler']
const REPLACED = [
  'guidance_weight', 'start_percent', 'end_percent', 'guided_steps', 'recurrence', 'negative_mode', 'outside_weight'
]
const AS_SET = 'as set'

function showWhatCounts (node, preset) {
  for (const widget of node.widgets.filter((candidate) => REPLACED.includes(candidate.name))) {
    widget.disabled = preset.value !== AS_SET // on the canvas
    widget.options.disabled = widget.disabled // in Vue nodes
  }
  node.setDirtyCanvas?.(true, true)
}

app.registerExtension({
  name: 'cones2.presets',
  nodeCreated (node) {
    if (!NODES.includes(node.comfyClass)) return
    const preset = node.widgets?.find((candidate) => candidate.name === 'preset')
    if (!preset) return
    const { callback } = preset
    preset.callback = function (...values) {
      callback?.apply(this, values)
      showWhatCounts(node, preset)
    }
    const { onConfigure } = node
    node.onConfigure = function (...values) { // a workflow is loaded, or undone
      onConfigure?.apply(this, values)
      showWhatCounts(node, preset)
    }
  }
})
