# Crash rounds; read by init.sh.
