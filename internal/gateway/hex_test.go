package gateway_test

import "encoding/hex"

func hexed(b []byte) []byte            { return []byte(hex.EncodeToString(b)) }
func unhexed(s string) ([]byte, error) { return hex.DecodeString(s) }
