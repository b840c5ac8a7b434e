"""Pictures and tensors: decoding, RT-DETRv2, remote services. No Bytewax, no database."""
