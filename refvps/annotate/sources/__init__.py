"""What foreign tools wrote about one clip, read into one form: RLE by object and frame."""
