"""Where the importer was before it became `affwild_omg.import_tf1`."""
