"""Drawing clips without PyTorch: an exported checkpoint's networks, run by onnxruntime.

sessions   runs exported graphs
networks   a checkpoint's networks as the pipeline calls them
tokenizer  CLIP's tokenizer from its `tokenizer.json`
agreement  checks that a manifest's numbers are those of its graphs
pipeline   `LightPipeline`: loads an exported folder; prepare, step and decode are those of
           `riffusion.diffusion`
"""
