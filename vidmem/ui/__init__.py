"""The web page: bring videos into a store, watch, ask, click the evidence. Thin over `vidmem.pipelines`."""
