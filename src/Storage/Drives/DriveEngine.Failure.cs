using ObjectStore.Storage.Buffers;
using ObjectStore.Storage.Volumes;

namespace ObjectStore.Storage.Drives;

/// <summary>
/// How a drive is given up while it is at work. Nothing here waits for the drive: callers get their answer at once, and one thread in the background waits for those that are still in the kernel,
/// for as long as it takes. Only then are files and the folder's lock let go. So the drive cannot be opened again while an old thread might still write to a volume.
/// </summary>
internal sealed partial class DriveEngine
{
    private readonly TaskCompletionSource _letGo = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Lock _disposal = new(); // held by a disposal, which may hang as well
    private volatile string? _failure;
    private int _failing;

    public DriveErrors Errors => _index.Errors;

    public DriveThreads Threads { get; }

    public IDrive Drive => _drive;

    public bool HasFailed => _failure is not null;

    /// <summary>After <see cref="Fail"/>: completes when no thread is left on the drive and its folder has been let go.</summary>
    public Task LetGo => _letGo.Task;

    /// <summary>For how long the oldest operation has been with the drive itself; what only waits in a queue does not count.</summary>
    public TimeSpan BusyFor
    {
        get
        {
            TimeSpan longest = Threads.BusyFor;
            foreach (VolumeWriter writer in _writers)
                longest = writer.BusyFor is var busy && busy > longest ? busy : longest;
            return longest;
        }
    }

    public bool IsFull => _full;

    public void ThrowIfFailed()
    {
        if (_failure is not null)
            throw Failure();
    }

    /// <summary>Gives the drive up; see <see cref="Fragments.LocalFragmentStore.Fail"/>.</summary>
    public bool Fail(string reason)
    {
        if (_closed || Interlocked.Exchange(ref _failing, 1) != 0)
            return false;
        _failure = reason;
        _index.Abandon(Failure());
        foreach (VolumeWriter writer in _writers)
            writer.Fail(reason);
        Threads.Fail(Failure);
        _closing = true;
        _work.Set();
        new Thread(LetGoOfDrive) { IsBackground = true, Name = "failed drive" }.Start();
        return true;
    }

    private DriveUnavailableException Failure() => new(DriveId, _failure!);

    private void LetGoOfDrive()
    {
        foreach (VolumeWriter writer in _writers)
            writer.Join();
        _indexThread?.Join();
        Threads.Close();
        try
        {
            lock (_disposal)
                Release();
        }
        catch (Exception e)
        {
            // The drive has failed already, and this is the last that is done with it: whatever it answers changes nothing.
            _services.Events.IndexWriteFailed(DriveId, e);
        }

        _letGo.SetResult();
    }

    /// <summary>The path may show another drive than the one whose files are open; a new file would go there.</summary>
    private void RequireIdentity()
    {
        if (_drive.ReadIdentity() is not { } content)
            throw new IOException($"'{_drive.Path}' shows no drive.");
        if (DriveIdentity.TryDecode(content, _drive.Path)?.DriveId != DriveId)
            throw new IOException($"'{_drive.Path}' shows another drive.");
    }

    /// <summary>
    /// As <see cref="RequireIdentity"/>, and that the file at the volume's path is the volume's, as far as its header tells: it may be damaged. A deletion goes by the path, and the volume itself
    /// is open whatever the path shows.
    /// </summary>
    private void RequireFileOf(Volume volume)
    {
        try
        {
            RequireIdentity();
            if (!_drive.ListVolumes().Contains(volume.Id))
                return;
            using IVolumeFile file = _drive.OpenVolume(volume.Id);
            using var pages = new AlignedBuffer(VolumeFormat.LogStart);
            _ = TryReadHeader(file, volume.Id, pages.GetSpan(), out _, out _);
            for (int at = 0; at < VolumeFormat.LogStart; at += VolumeFormat.PageBytes)
            {
                ReadOnlySpan<byte> page = pages.GetSpan().Slice(at, VolumeFormat.PageBytes);
                bool isAnother = VolumeHeader.TryDecode(page, out VolumeHeader header)
                    ? header.DriveId != DriveId || header.VolumeId != volume.Id || header.Generation != volume.Header.Generation
                    : VolumeHeader.OtherFormat(page) is not null;
                if (isAnother)
                    throw new IOException($"'{_drive.Path}' shows another file as volume {volume.Id}.");
            }
        }
        catch (IOException)
        {
            Errors.CountIoError();
            throw;
        }
    }
}
