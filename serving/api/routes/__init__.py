"""HTTP in, HTTP out: routes translate, the modules beside this folder decide."""
