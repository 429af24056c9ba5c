// Older workflows name the demo model's residuals without their folder: the list has them below "demo/" today.
import { app } from '../../scripts/app.js'

app.registerExtension({
  name: 'cones2.demoResiduals',
  loadedGraphNode (node) {
    if (node.comfyClass !== 'Cones2LoadResidual') return
    const widget = node.widgets.find((candidate) => candidate.name === 'file')
    const files = widget?.options?.values ?? []
    if (!files.includes(widget.value) && files.includes(`demo/${widget.value}`)) widget.value = `demo/${widget.value}`
  }
})
