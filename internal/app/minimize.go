package app

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"github.com/munjigi/munjigi/internal/config"
	"github.com/munjigi/munjigi/internal/guard"
	"github.com/munjigi/munjigi/internal/guard/schema"
	"github.com/munjigi/munjigi/internal/keys"
)

// resultHashPurpose is the purpose of the key for digests of fields that policy
// holds back.
const resultHashPurpose keys.Purpose = "result-hash"

// resultHash makes digests by which equal values of one server are seen to be
// equal, and nothing else of them is.
func resultHash(ring keys.Ring) (func(server string, canonical []byte) string, error) {
	_, key, err := ring.Subkey(resultHashPurpose)
	if err != nil {
		return nil, err
	}
	return func(server string, canonical []byte) string {
		h := hmac.New(sha256.New, key[:])
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(server))))
		h.Write([]byte(server))
		h.Write(canonical)
		return "hash:" + hex.EncodeToString(h.Sum(nil)[:16])
	}, nil
}

// schemas holds minimized results to the schemas of their tools, whatever the
// mode of the schema guard.
func schemas(cfg *config.Config) (*guard.Set, error) {
	var open []string
	for _, g := range cfg.Guards {
		open = append(open, g.InsecureUnknownProperties...)
	}
	return guard.Build([]guard.Guard{schema.New(open)}, nil)
}
