// Opens graphs as earlier versions of the pack saved them: what the Run button would send.
'use strict'
window.cones2Tests.openOlder = async () => {
  const { load, prompt } = window.cones2Tests
  const node = (id, type, extra) => ({ id, type, pos: [id * 300, 0], size: [210, 100], flags: {}, order: id, mode: 0, properties: {}, ...extra })
  const widget = (name, type) => ({ name, type, link: null, widget: { name } })
  const workflow = {
    last_node_id: 7, last_link_id: 3, groups: [], config: {}, extra: {}, version: 0.4,
    nodes: [
      node(1, 'Cones2LoadResidual', { inputs: [], outputs: [], widgets_values: ['blue_white_dog.safetensors', 'dog', 1] }),
      node(2, 'CreateBoundingBoxes', { inputs: [], outputs: [{ name: 'preview', type: 'IMAGE', links: null }, { name: 'bboxes', type: 'BOUNDING_BOX', links: [1] }] }),
      node(3, 'Cones2LayoutFromBoxes', {
        inputs: [{ name: 'boxes', type: 'BOUNDING_BOX', link: 1 }, widget('width', 'INT'), widget('height', 'INT'), widget('subjects', 'STRING'), widget('weight', 'FLOAT')],
        outputs: [{ name: 'layout', type: 'CONES2_LAYOUT', links: [2] }],
        widgets_values: [640, 480, 'dog', 3]
      }),
      node(4, 'Cones2LayoutGuidedKSampler', {
        inputs: [...[['model', 'MODEL'], ['positive', 'CONDITIONING'], ['negative', 'CONDITIONING'], ['latent_image', 'LATENT']].map(([name, type]) => ({ name, type, link: null })),
          { name: 'layout', type: 'CONES2_LAYOUT', link: 2 }, widget('seed', 'INT'), widget('steps', 'INT')],
        outputs: [{ name: 'latent', type: 'LATENT', links: [] }],
        widgets_values: [4, 'fixed', 16, 4, 'euler', 'normal', 1, 0.08, 5, false, 'others', -2]
      }),
      node(5, 'EmptyImage', { inputs: [], outputs: [{ name: 'IMAGE', type: 'IMAGE', links: [3] }], widgets_values: [64, 64, 3, 0] }),
      node(6, 'Cones2TrainResidual', {
        inputs: [{ name: 'model', type: 'MODEL', link: null }, { name: 'clip', type: 'CLIP', link: null }, { name: 'vae', type: 'VAE', link: null }, { name: 'images', type: 'IMAGE', link: 3 }],
        outputs: [], widgets_values: ['cat', 'paper', 1000, 0.00001, 64, 2, 3, 7, 'fixed', 'rex', true, 10, 'photos', 'a gray cat']
      }),
      node(7, 'Cones2LayoutGuidedKSampler', {
        inputs: [], outputs: [], widgets_values: [1, 'fixed', 30, 6, 'euler', 'simple', 0.9, 0.1, 5, false, 'others', -3, 8, 'as set']
      })
    ],
    links: [[1, 2, 1, 3, 0, 'BOUNDING_BOX'], [2, 3, 0, 4, 4, 'CONES2_LAYOUT'], [3, 5, 0, 6, 3, 'IMAGE']]
  }
  const { marked } = await load(workflow)
  const { output } = await prompt()
  const inSight = (id, name) => !app.graph.getNodeById(id).widgets.find((widget) => widget.name === name).hidden
  return {
    marked, file: output[1].inputs.file, layout: output[3].inputs, sampler: output[4].inputs, training: output[6].inputs, sampling: output[7].inputs,
    inSight: [inSight(6, 'steps'), inSight(7, 'outside_weight')]
  }
}
