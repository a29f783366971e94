"""Where a store keeps things: databases and engines of others, or small ones of its own."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from analect_operator.specs.base import (
    IMMUTABLE,
    Image,
    Label,
    Name,
    Quantity,
    SecretKey,
    Spec,
    Url,
    checked,
    exactly_one,
    rules,
)


class Resources(Spec):
    """What a container asks for and may use at most."""

    cpu: Quantity | None = Field(default=None, description="CPU it is promised: `500m` or `2`.")
    memory: Quantity | None = Field(default=None, description="Memory it is promised: `512Mi`.")
    cpu_limit: Quantity | None = Field(default=None, description="CPU it may use at most.")
    memory_limit: Quantity | None = Field(default=None, description="Memory it may use at most.")


class Storage(Spec):
    """A volume; its size and class are settled when it is made."""

    model_config = checked(
        (
            (
                "has(self.storageClassName) == has(oldSelf.storageClassName) && "
                "(!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)"
            ),
            "storageClassName cannot be changed; make a new store and restore a backup into it",
        ),
        (
            "quantity(string(self.size)).compareTo(quantity(string(oldSelf.size))) >= 0",
            "a volume cannot shrink; give a size that is not smaller",
        ),
    )

    size: Quantity = Field(default="10Gi", description="How large the volume is.")
    storage_class_name: Name | None = Field(
        default=None, description="The storage class; the cluster's default when not given."
    )


class CertificateRef(Spec):
    """A key of a Secret that holds certificates in PEM."""

    name: Name = Field(description="Name of the Secret.")
    key: SecretKey = Field(default="ca.crt", description="Its key with the certificates.")


class Credentials(Spec):
    """A Secret with what opens an external server; the keys are named, the values never appear."""

    model_config = checked(
        (
            "has(self.urlKey) || has(self.passwordKey)",
            (
                "name the key of the Secret that holds the whole URL (urlKey) or the password "
                "(passwordKey)"
            ),
        ),
    )

    name: Name = Field(description="Name of the Secret, in the namespace of the store.")
    url_key: SecretKey | None = Field(
        default=None, description="Its key with the whole URL, user and password included."
    )
    username_key: SecretKey | None = Field(
        default=None, description="Its key with the user's name."
    )
    password_key: SecretKey | None = Field(default=None, description="Its key with the password.")


class External(Spec):
    """A server that someone else runs."""

    model_config = checked(
        (
            "has(self.url) || (has(self.secretRef) && has(self.secretRef.urlKey))",
            "give url, or a secretRef whose urlKey holds the whole URL",
        ),
        (
            "!(has(self.url) && has(self.secretRef) && has(self.secretRef.urlKey))",
            "give url or secretRef.urlKey, not both",
        ),
    )

    url: Url | None = Field(
        default=None,
        description="Its address, without user and password: `postgresql://db:5432/analect`.",
    )
    secret_ref: Credentials | None = Field(default=None, description="What opens it.")
    ca: CertificateRef | None = Field(
        default=None, description="Certificates of the authority that signed the server's."
    )


class Managed(Spec):
    """A single instance that the operator runs, for development: no replica, no failover."""

    storage: Storage = Field(
        default=Storage(),
        json_schema_extra=rules(
            (
                "string(self.size) == string(oldSelf.size)",
                (
                    "the volume of a managed server keeps its size; make a new store and restore a "
                    "backup into it"
                ),
            )
        ),
        description="Its volume.",
    )
    image: Image | None = Field(
        default=None, description="Another image than the operator's default."
    )
    resources: Resources = Field(default=Resources(), description="What it asks for and may use.")


_CHOICE = checked(
    exactly_one("external", "managed"),
    (
        "has(self.managed) == has(oldSelf.managed)",
        (
            "external and managed cannot be exchanged in a living store; make a new store and restore "
            "a backup into it"
        ),
    ),
)


class Backend(Spec):
    """A server: an external one or a small one of the store's own."""

    model_config = _CHOICE

    external: External | None = Field(default=None, description="A server that someone else runs.")
    managed: Managed | None = Field(
        default=None, description="A single instance for development, run by the operator."
    )


def spoken(*schemes: str) -> dict[str, Any]:
    """The address of an external server begins with one of these."""
    ways = " || ".join(f"self.external.url.startsWith('{one}://')" for one in schemes)
    said = ", ".join(f"{one}://" for one in schemes)
    return rules(
        (
            f"!has(self.external) || !has(self.external.url) || {ways}",
            f"external.url must begin with one of {said}",
        )
    )


class ObjectStore(Spec):
    """A bucket for backups, warm and cold files."""

    url: Annotated[str, Field(min_length=6, max_length=1024, pattern=r"^(s3|gs|az)://[^\s@]+$")] = (
        Field(description="Bucket and prefix: `s3://bucket/prefix`.")
    )
    endpoint: Url | None = Field(
        default=None, description="Address of the server, for S3-compatible stores of one's own."
    )
    region: Label | None = Field(default=None, description="Region of the bucket.")
    secret_ref: ObjectStoreCredentials | None = Field(
        default=None, description="What opens the bucket."
    )
    ca: CertificateRef | None = Field(
        default=None, description="Certificates of the authority that signed the server's."
    )


class ObjectStoreCredentials(Spec):
    """A Secret with the access key of a bucket."""

    name: Name = Field(description="Name of the Secret.")
    access_key_id_key: SecretKey = Field(
        default="accessKeyId", description="Its key with the id of the access key."
    )
    secret_access_key_key: SecretKey = Field(
        default="secretAccessKey", description="Its key with the access key."
    )


class KeyRef(Spec):
    """One key of a Secret."""

    name: Name = Field(description="Name of the Secret.")
    key: SecretKey = Field(description="Its key.")


class Ring(Spec):
    """The key ring's volume, shared by all pods of the store."""

    size: Quantity = Field(default="1Gi", description="How large the volume is.")
    storage_class_name: Name | None = Field(
        default=None,
        json_schema_extra=rules(IMMUTABLE),
        description="A storage class; it must let several nodes write where pods run on several.",
    )
    access_mode: Literal["ReadWriteOnce", "ReadWriteMany"] = Field(
        default="ReadWriteMany",
        json_schema_extra=rules(IMMUTABLE),
        description="`ReadWriteOnce` is for clusters of one node.",
    )


class Keys(Spec):
    """What opens the data."""

    kek_secret_ref: KeyRef | None = Field(
        default=None,
        description="The key-encryption key: 32 bytes in base64. The operator makes one when it "
        "is not given, in a Secret that is never collected; export it.",
    )
    ring: Ring = Field(default=Ring(), description="Where the key ring lives.")


ObjectStore.model_rebuild()
