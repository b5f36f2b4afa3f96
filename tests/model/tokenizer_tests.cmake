# The tests of the tokenizer; tests/model/CMakeLists.txt includes this file. The label `threads`
# marks what the tsan build runs as well.
latentd_test(test_tokenizer SOURCES test_tokenizer.c LINKS model LABELS unit)
# Of this program one case has threads; all of it would take five minutes under the thread sanitizer.
add_test(NAME test_tokenizer_threads COMMAND test_tokenizer "threads_share*")
set_tests_properties(test_tokenizer_threads PROPERTIES LABELS "unit;threads")
latentd_test(test_tokenizer_files SOURCES test_tokenizer_files.c LINKS model LABELS unit)
latentd_test(test_bpe SOURCES test_bpe.c LINKS model LABELS unit)
latentd_test(test_pretokenizer SOURCES test_pretokenizer.c LINKS model LABELS unit)
latentd_test(test_added_tokens SOURCES test_added_tokens.c LINKS model LABELS unit)
latentd_test(test_detokenizer SOURCES test_detokenizer.c LINKS model LABELS unit)
latentd_test(test_nfc SOURCES test_nfc.c LINKS model LABELS unit)
latentd_test(test_chat SOURCES test_chat.c LINKS model LABELS unit)
# The longest takes 15 s in a plain build and a minute or two under sanitizers; anything quadratic
# in a mebibyte of text would take hours.
foreach(test test_tokenizer test_tokenizer_threads test_tokenizer_files test_bpe test_pretokenizer test_added_tokens
             test_detokenizer test_nfc test_chat)
  set_tests_properties(${test} PROPERTIES TIMEOUT 300)
endforeach()
