"""Where data sets' files come from: local copies, the Hugging Face Hub, COCO's images."""
