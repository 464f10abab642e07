"""Intake's settings."""

from __future__ import annotations

from pydantic import Field

from services.chassis.settings import Settings


class IntakeSettings(Settings):
    """Where files are kept and how large they may be, how links are looked at and Open311 servers probed."""

    files_url: str = Field(
        "",
        description="Where files and raw answers of probes are kept: s3://…, gs://… or az://… (credentials as their"
        " own variables have them); empty: the folder `files` in CEC_VAR.",
    )
    files_kinds: str = Field(
        "pdf,png,jpeg,csv,txt,xlsx,docx,pptx", description="Kinds of files that are taken: these or fewer, with commas."
    )
    files_bytes: int = Field(25_000_000, description="Bytes of one file, at most.", ge=1)
    files_unpacked_bytes: int = Field(
        200_000_000, description="Bytes that an office file may unpack to; it is not unpacked here.", ge=1
    )
    files_count: int = Field(60, description="Files of one application, at most.", ge=1)
    files_total_bytes: int = Field(250_000_000, description="Bytes of all files of one application, at most.", ge=1)
    uploads_hours: int = Field(24, description="Hours after which an upload that was not finished is removed.", ge=1)
    links_every_days: int = Field(7, description="Days from one look at a link in a draft to the next.", ge=1)
    links_pause_seconds: float = Field(2.0, description="Between two looks at links of one host.", ge=0)
    links_allow_loopback: bool = Field(
        default=False, description="Whether a link may lead to this machine, over http too (tests only)."
    )
    comments_hourly: int = Field(
        10, description="Comments on one charter that is open for comment, from one person or address, an hour.", ge=1
    )
    comments_hourly_all: int = Field(300, description="The same from everybody together.", ge=1)
    probes_allow_loopback: bool = Field(
        default=False,
        description="Whether an Open311 server may be on this machine, over http too (embedded mode only).",
    )
    probes_contact: str = Field(
        "", description="E-mail address or page that probes name to the servers they read, beside CEC_PUBLIC_URL."
    )
    probes_every_days: int = Field(30, description="Days from one probe of an Open311 server to the next.", ge=1)
    probes_rest_minutes: int = Field(60, description="Minutes before a probe may be asked for again.", ge=0)
    probes_pause_seconds: float = Field(1.0, description="Between two calls to one Open311 server.", ge=0)
    probes_drop_points: int = Field(
        10, description="Percentage points by which a share must have fallen since the last probe to be flagged.", ge=1
    )
