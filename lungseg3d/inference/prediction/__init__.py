"""Networks run over volumes: windows, views, backends."""
