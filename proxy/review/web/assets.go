package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"path"
	"time"

	"halfopen/proxy/review/ladder"
	"halfopen/proxy/review/trial"
)

// assetTypes are what is served of the files embedded.
var assetTypes = map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

// asset answers with a style sheet, script or picture of the page.
func (s *Server) asset(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	var data []byte
	switch name {
	case "ladder.css":
		data = []byte(ladder.CSS)
	case "trial.css":
		data = []byte(trial.CSS)
	default:
		var err error
		if data, err = assetFiles.ReadFile("assets/" + path.Base(name)); err != nil || path.Base(name) != name {
			s.fail(w, r, notFound("there is no such page"))
			return
		}
	}
	kind := assetTypes[path.Ext(name)]
	if kind == "" {
		s.fail(w, r, notFound("there is no such page"))
		return
	}
	sum := sha256.Sum256(data)
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "no-cache") // asked for again, and answered with 304: a new version is seen at once
	w.Header().Set("ETag", `"`+hex.EncodeToString(sum[:12])+`"`)
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(data))
}
