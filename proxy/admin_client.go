package proxy

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"syscall"

	"halfopen/policy"
)

// AdminClient asks a running gateway by its admin socket.
type AdminClient struct {
	path string
	http *http.Client
}

// NewAdminClient returns a client of the socket at path; it connects at the first call.
func NewAdminClient(path string) *AdminClient {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}
	return &AdminClient{path: path, http: &http.Client{Transport: &http.Transport{DialContext: dial}}}
}

// Close lets idle connections go.
func (c *AdminClient) Close() { c.http.CloseIdleConnections() }

// Flows calls fn for each flow that the filter picks. An error of fn ends the listing and is returned.
func (c *AdminClient) Flows(ctx context.Context, filter string, fn func(*Flow) error) error {
	return c.stream(ctx, "/v1/flows", filter, fn)
}

// Events calls fn for each flow event that the filter picks, until ctx ends (nil), the gateway stops (nil) or fn has an error.
func (c *AdminClient) Events(ctx context.Context, filter string, fn func(*Flow) error) error {
	err := c.stream(ctx, "/v1/events", filter, fn)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// Kill ends the flows that the filter picks and returns how many.
func (c *AdminClient) Kill(ctx context.Context, filter string) (int, error) {
	var body struct {
		Killed int `json:"killed"`
	}
	err := c.call(ctx, http.MethodPost, "/v1/flows/kill", url.Values{"filter": {filter}}, &body)
	return body.Killed, err
}

// Reload makes the gateway load its policy again, or the one that is named. Problems in the policy come as [policy.Problems].
func (c *AdminClient) Reload(ctx context.Context, policy string) (ReloadResult, error) {
	var res ReloadResult
	err := c.call(ctx, http.MethodPost, "/v1/reload", url.Values{"policy": {policy}}, &res)
	return res, err
}

// Status asks how the gateway does.
func (c *AdminClient) Status(ctx context.Context) (Status, error) {
	var st Status
	err := c.call(ctx, http.MethodGet, "/v1/status", nil, &st)
	return st, err
}

// Experiments asks how the gateway's experiments do.
func (c *AdminClient) Experiments(ctx context.Context) ([]ExperimentStatus, error) {
	var st []ExperimentStatus
	err := c.call(ctx, http.MethodGet, "/v1/experiments", nil, &st)
	return st, err
}

// StopExperiment stops an arm of an experiment, or with "" all of it, and returns the arms that were stopped by that.
func (c *AdminClient) StopExperiment(ctx context.Context, name, arm string) ([]string, error) {
	var res stoppedArms
	err := c.call(ctx, http.MethodPost, "/v1/experiments/stop", url.Values{"name": {name}, "arm": {arm}}, &res)
	return res.Stopped, err
}

// call makes one request and reads its one answer.
func (c *AdminClient) call(ctx context.Context, method, path string, query url.Values, into any) error {
	body, err := c.do(ctx, method, path, query)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	if err := json.NewDecoder(body).Decode(into); err != nil {
		return fmt.Errorf("admin: answer of %s: %w", c.path, err)
	}
	return nil
}

// stream makes one request and reads flows, one a line, to the end.
func (c *AdminClient) stream(ctx context.Context, path, filter string, fn func(*Flow) error) error {
	body, err := c.do(ctx, http.MethodGet, path, url.Values{"filter": {filter}})
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	for dec := json.NewDecoder(bufio.NewReaderSize(body, 1<<16)); ; {
		var f Flow
		if err := dec.Decode(&f); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("admin: the answer of %s is cut short: %w", c.path, err)
		}
		if err := fn(&f); err != nil {
			return err
		}
	}
}

// do makes a request and returns the body of a good answer.
func (c *AdminClient) do(ctx context.Context, method, path string, query url.Values) (io.ReadCloser, error) {
	u := url.URL{Scheme: "http", Host: "halfopen", Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, c.explain(err)
	}
	if res.StatusCode == http.StatusOK {
		return res.Body, nil
	}
	defer func() { _ = res.Body.Close() }()
	var body adminError
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<24)).Decode(&body); err != nil || body.Error == "" {
		return nil, fmt.Errorf("admin: %s answers %s", c.path, res.Status)
	}
	if len(body.Problems) > 0 {
		return nil, &RefusedError{Words: body.Error, Problems: body.Problems}
	}
	return nil, errors.New(body.Error)
}

// RefusedError is a reload that the gateway refused because of problems in the policy.
type RefusedError struct {
	Words    string // the gateway's, with the problems
	Problems policy.Problems
}

func (e *RefusedError) Error() string { return e.Words }

// explain says what it means that the socket cannot be reached.
func (c *AdminClient) explain(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("admin: there is no socket %s; is a gateway running with --admin %s?", c.path, c.path)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("admin: nobody serves the socket %s; the gateway that made it is dead", c.path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("admin: no permission to use the socket %s; only the gateway's own user and root may", c.path)
	}
	return fmt.Errorf("admin: %w", err)
}
