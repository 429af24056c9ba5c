"""The pack's own files in the host's folders."""

from tests.host.client.worker import HostWorker


def test_an_interrupted_copy_of_the_samples_is_completed_and_the_users_changes_stay(in_host: HostWorker) -> None:
    assert in_host.input_files.interrupted_samples() == {"completed": True, "kept": True}


def test_a_name_on_another_drive_is_absent(in_host: HostWorker) -> None:
    assert in_host.input_files.foreign_names() == [None, None, None]
