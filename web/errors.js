// What the pack's nodes failed with: the sentence itself, under the node's own name and not under its title in the graph.
import { app } from '../../scripts/app.js'
import { api } from '../../scripts/api.js'

// Errors of ours also come from other nodes: a plain KSampler samples what our nodes bound to the conditioning.
const isOurs = ({ node_type: type, exception_type: error }) => type?.startsWith('Cones2') || error?.startsWith('cones2.')

function nameOf (type) {
  const known = LiteGraph.registered_node_types[type]
  return known?.nodeData?.display_name ?? known?.title ?? type
}

app.registerExtension({
  name: 'cones2.errors',
  setup () {
    api.addEventListener('execution_error', ({ detail }) => {
      if (!isOurs(detail)) return
      const sentence = detail.exception_message.trim()
      app.extensionManager.toast.add({ severity: 'error', summary: nameOf(detail.node_type), detail: sentence, life: 20000 })
    })
  }
})
