package main

import (
	"encoding/json"
)

type job struct {
	Target  string  `json:"target"`
	Options options `json:"options"`
	Call    request `json:"call"`
}

type options struct {
	APIKey *string `json:"api_key"`
	TLS    *struct {
		CA         string `json:"ca_file"`
		Cert       string `json:"cert_file"`
		Key        string `json:"key_file"`
		ServerName string `json:"server_name"`
	} `json:"tls"`
	Timeout     *float64          `json:"timeout_ms"`
	IdleTimeout *float64          `json:"idle_timeout_ms"`
	Metadata    map[string]string `json:"metadata"`
	MaxRetries  *int              `json:"max_retries"`
}

type request struct {
	Do           string            `json:"do"`
	Conversation json.RawMessage   `json:"conversation"`
	Options      json.RawMessage   `json:"options"`
	RequestID    string            `json:"request_id"`
	Resume       *bool             `json:"resume"`
	Timeout      *float64          `json:"timeout_ms"`
	Metadata     map[string]string `json:"metadata"`
	MaxRetries   *int              `json:"max_retries"`
	ExpectedTurn *int32            `json:"expected_turn"`
	History      json.RawMessage   `json:"history"`
	Cancel       struct {
		AfterMs     float64 `json:"after_ms"`
		AfterEvents int     `json:"after_events"`
	} `json:"cancel"`

	Model     string              `json:"model"`
	System    string              `json:"system"`
	Turns     [][]contentSpec     `json:"turns"`
	Stream    bool                `json:"stream"`
	Question  string              `json:"question"`
	Tools     []toolSpec          `json:"tools"`
	Results   map[string]string   `json:"results"`
	MaxRounds int                 `json:"max_rounds"`
	Parallel  bool                `json:"parallel"`
	Messages  json.RawMessage     `json:"messages"`
	Repair    bool                `json:"repair"`
	File      string              `json:"file"`
	MIMEType  string              `json:"mime_type"`
	Name      string              `json:"name"`
	Then      []contentSpec       `json:"then"`
	PageSize  int32               `json:"page_size"`
	Count     int                 `json:"count"`
	Vectors   []map[string]string `json:"vectors"`

	Setup json.RawMessage              `json:"setup"`
	Steps []map[string]json.RawMessage `json:"steps"`
}

type toolSpec struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Parameters  string `json:"parameters"`
}
