"""The settings of all processes of the flow."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class FlowSettings(BaseModel):
    """Settings that apply to every process of the flow."""

    threads: int = Field(
        0,
        ge=0,
        le=1024,
        description="computing threads of each replica of a stage; 0 means its share of the cores, "
        "for a run of the model at least 2",
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="`text`, or `json` for one JSON object per log line"
    )
    stage_calls: Literal["direct", "jina"] = Field(
        "direct",
        description="how the gateway calls the stages: `direct`, wherever the flow file allows it, or `jina`, always by Jina's "
        "streamer, head and merge",
    )
