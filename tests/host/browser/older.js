// Opens graphs as earlier versions of the pack saved them: what the Run button would send.
'use strict'
window.cones2Tests.openOlder = async () => {
  const { load, prompt } = window.cones2Tests
  const node = (id, type, extra) => ({ id, type, pos: [id * 300, 0], size: [210, 100], flags: {}, order: id, mode: 0, properties: {}, ...extra })
  const widget = (name, type) => ({ name, type, link: null, widget: { name } })
  const workflow = {
    last_node_id: 3, last_link_id: 1, groups: [], config: {}, extra: {}, version: 0.4,
    nodes: [
      node(1, 'Cones2LoadResidual', { inputs: [], outputs: [], widgets_values: ['blue_white_dog.safetensors', 'dog', 1] }),
      node(2, 'CreateBoundingBoxes', { inputs: [], outputs: [{ name: 'preview', type: 'IMAGE', links: null }, { name: 'bboxes', type: 'BOUNDING_BOX', links: [1] }] }),
      node(3, 'Cones2LayoutFromBoxes', {
        inputs: [{ name: 'boxes', type: 'BOUNDING_BOX', link: 1 }, widget('width', 'INT'), widget('height', 'INT'), widget('subjects', 'STRING'), widget('weight', 'FLOAT')],
        outputs: [{ name: 'layout', type: 'CONES2_LAYOUT', links: [] }],
        widgets_values: [640, 480, 'dog', 3]
      })
    ],
    links: [[1, 2, 1, 3, 0, 'BOUNDING_BOX']]
  }
  const { marked } = await load(workflow)
  const { output } = await prompt()
  return { marked, file: output[1].inputs.file, layout: output[3].inputs }
}
