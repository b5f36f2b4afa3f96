# The tokenizer's part of the model layer; model/CMakeLists.txt includes this file, adds
# MODEL_TOKENIZER_SOURCES to its sources and links PCRE2.
set(MODEL_TOKENIZER_SOURCES
  added_tokens.c bpe.c byte_alphabet.c chat.c detokenizer.c nfc.c nfc_table.c pattern.c
  pattern_dialect.c pretokenizer.c string_map.c template.c tokenizer.c tokenizer_json.c vocab.c)
