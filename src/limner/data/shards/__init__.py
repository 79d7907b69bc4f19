"""Pictures in tar files of WebDataset's layout with an index, on the disk or in an object store."""
