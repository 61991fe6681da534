"""What hooks return goes from task to task: Airflow is told that these classes may be made from an XCom."""

from __future__ import annotations

from airflow_provider_wxbank.wechatpay.packages import TaskPage, UploadTask


def allow_in_xcoms(*classes: type) -> None:
    """Let this process make classes from XComs, as ``[core] allowed_deserialization_classes`` does for all.

    Airflow makes no class that it was not told of. Its ``allow_class`` came with 3.3; before there is the set alone.
    """
    try:
        from airflow.sdk import serde
    except ImportError:  # before Airflow 3.2
        from airflow.serialization import serde  # type: ignore[no-redef,attr-defined,unused-ignore]

    allow = getattr(serde, "allow_class", None)
    for one in classes:
        if allow is not None:
            allow(one)
        else:
            serde._extra_allowed.add(f"{one.__module__}.{one.__qualname__}")


allow_in_xcoms(TaskPage, UploadTask)
