"""A small contract that has something of everything, in each version of OpenAPI."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

VERSIONS = ("3.0.3", "3.1.0", "3.2.0")

SCHEMAS: dict[str, Any] = {
    "Pet": {
        "type": "object",
        "required": ["name"],
        "additionalProperties": False,
        "properties": {
            "name": {"type": "string", "minLength": 1},
            "age": {"type": "integer", "minimum": 0},
            "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 3},
        },
    }
}

JSON_PET = {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}}


def parameter(where: str, name: str, schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    required = {"required": True} if where == "path" else {}
    return {"in": where, "name": name, "schema": schema, **required, **more}


def document(
    paths: dict[str, Any] | None = None, version: str = "3.1.0", **more: Any
) -> dict[str, Any]:
    """A document with these paths, or with those of the pets."""
    made = {
        "openapi": version,
        "info": {"title": "Pets", "version": "1"},
        "paths": PETS if paths is None else paths,
        "components": {"schemas": SCHEMAS},
        **more,
    }
    copied: dict[str, Any] = json.loads(json.dumps(made))
    return copied


def operation(**more: Any) -> dict[str, Any]:
    return {"responses": {"200": {"description": "fine"}}, **more}


PETS: dict[str, Any] = {
    "/pets": {
        "get": {
            "operationId": "listPets",
            "parameters": [
                parameter("query", "limit", {"type": "integer", "minimum": 1, "maximum": 50}),
                parameter("query", "tag", {"type": "array", "items": {"enum": ["a", "b"]}}),
                parameter("header", "X-Key", {"type": "string", "minLength": 3}, deprecated=True),
            ],
            "responses": {
                "200": {
                    "description": "all of them",
                    "headers": {"X-Total": {"required": True, "schema": {"type": "integer"}}},
                    "content": {
                        "application/json": {
                            "schema": {
                                "type": "array",
                                "items": {"$ref": "#/components/schemas/Pet"},
                            }
                        }
                    },
                }
            },
        },
        "post": {
            "operationId": "createPet",
            "requestBody": {"required": True, "content": JSON_PET},
            "responses": {"201": {"description": "made", "content": JSON_PET}},
        },
    },
    "/pets/mine": {"get": operation(operationId="mine")},
    "/pets/{number}": {
        "parameters": [parameter("path", "number", {"type": "integer"})],
        "get": {
            "operationId": "getPet",
            "responses": {
                "200": {"description": "one", "content": JSON_PET},
                "4XX": {"description": "none"},
            },
        },
        "put": {
            "operationId": "putPet",
            "requestBody": {
                "content": {
                    "application/x-www-form-urlencoded": {
                        "schema": {"$ref": "#/components/schemas/Pet"}
                    },
                    "application/merge-patch+json": {
                        "schema": {"$ref": "#/components/schemas/Pet"}
                    },
                }
            },
            "responses": {"204": {"description": "done"}},
        },
    },
    "/files": {
        "post": {
            "operationId": "upload",
            "requestBody": {"required": True, "content": {"application/octet-stream": {}}},
            "responses": {
                "200": {"description": "its size", "content": {"text/plain": {}}},
            },
        },
        "get": {
            "operationId": "events",
            "responses": {
                "200": {
                    "description": "for ever",
                    "headers": {"X-Feed": {"required": True, "schema": {"type": "string"}}},
                    "content": {"text/event-stream": {}},
                }
            },
        },
    },
}


def write(folder: Path, name: str, content: Any) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path
