using System.Globalization;
using Microsoft.Win32.SafeHandles;

namespace ObjectStore.Storage.Drives;

/// <summary>A drive that is a folder: `drive.json`, `lock`, `index.db`, `volumes/NNNNNNNN.vol`. Holds the folder's lock until disposed.</summary>
internal sealed class FileDrive : IDrive
{
    private const int SharingViolation = unchecked((int)0x80070020);

    private readonly string _volumes;
    private readonly string _identity;
    private readonly bool _directIo;
    private readonly FileStream _lock;
    private readonly DriveInfo _info;

    /// <exception cref="DriveInUseException">Another process, or another store of this one, holds the lock.</exception>
    /// <exception cref="DriveIdentityException">The folder cannot be written to.</exception>
    public FileDrive(string path, bool directIo)
    {
        Path = System.IO.Path.GetFullPath(path);
        _volumes = System.IO.Path.Combine(Path, "volumes");
        _identity = System.IO.Path.Combine(Path, "drive.json");
        _directIo = directIo;
        Directory.CreateDirectory(Path);
        try
        {
            // FileShare.None is flock(LOCK_EX | LOCK_NB): the kernel releases it with the process, however that ends.
            _lock = new FileStream(System.IO.Path.Combine(Path, "lock"), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, 1);
        }
        catch (IOException e) when (e.HResult is Posix.ErrorAgain or SharingViolation)
        {
            throw new DriveInUseException(Path, e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new DriveIdentityException(Path, $"its lock file cannot be opened for writing, so the folder is read-only or the drive fails: {e.Message}");
        }

        try
        {
            SyncNames();
        }
        catch
        {
            _lock.Dispose();
            throw;
        }

        _info = new DriveInfo(Path);
    }

    public string Path { get; }

    public string? IndexPath => System.IO.Path.Combine(Path, "index.db");

    public long CapacityBytes => _info.TotalSize;

    public long FreeBytes => _info.AvailableFreeSpace;

    public byte[]? ReadIdentity() => File.Exists(_identity) ? File.ReadAllBytes(_identity) : null;

    public void WriteIdentity(ReadOnlySpan<byte> content)
    {
        Directory.CreateDirectory(_volumes);
        string temporary = _identity + ".new";
        using (SafeFileHandle file = File.OpenHandle(temporary, FileMode.Create, FileAccess.Write))
        {
            RandomAccess.Write(file, content, 0);
            RandomAccess.FlushToDisk(file);
        }

        File.Move(temporary, _identity, overwrite: true);
        SyncFolder(Path);
    }

    public void Probe(ReadOnlySpan<byte> content)
    {
        string file = System.IO.Path.Combine(Path, "probe");
        using (SafeFileHandle handle = File.OpenHandle(file, FileMode.Create, FileAccess.ReadWrite))
        {
            RandomAccess.Write(handle, content, 0);
            RandomAccess.FlushToDisk(handle);
            var back = new byte[content.Length];
            if (RandomAccess.Read(handle, back, 0) != back.Length || !content.SequenceEqual(back))
                throw new IOException($"'{file}' does not give back what was written to it.");
        }

        File.Delete(file);
    }

    public IReadOnlyList<long> ListVolumes()
    {
        if (!Directory.Exists(_volumes))
            return [];
        var ids = new List<long>();
        foreach (string file in Directory.EnumerateFiles(_volumes, "*.vol"))
        {
            if (long.TryParse(System.IO.Path.GetFileNameWithoutExtension(file), NumberStyles.None, CultureInfo.InvariantCulture, out long id))
                ids.Add(id);
        }

        ids.Sort();
        return ids;
    }

    public IVolumeFile CreateVolume(long volumeId, long sizeBytes)
    {
        string file = FileOf(volumeId);
        IVolumeFile volume = OperatingSystem.IsLinux() ? LinuxVolumeFile.Create(file, sizeBytes, _directIo) : PortableVolumeFile.Create(file, sizeBytes);
        try
        {
            SyncFolder(_volumes);
        }
        catch
        {
            volume.Dispose();
            File.Delete(file);
            throw;
        }

        return volume;
    }

    public IVolumeFile OpenVolume(long volumeId)
        => OperatingSystem.IsLinux() ? LinuxVolumeFile.Open(FileOf(volumeId), _directIo) : PortableVolumeFile.Open(FileOf(volumeId));

    public void DeleteVolume(long volumeId)
    {
        File.Delete(FileOf(volumeId));
        SyncFolder(_volumes);
    }

    public void Dispose() => _lock.Dispose();

    private string FileOf(long volumeId) => System.IO.Path.Combine(_volumes, volumeId.ToString("D8", CultureInfo.InvariantCulture) + ".vol");

    /// <summary>
    /// Makes the volumes' names, and those that lead to them, durable. At every opening, since whoever made or removed them, this process or an earlier one that was killed, may not have come to it: what
    /// recovery sees of the folders is what it goes by, and writes into the index, so no power cut may take it back.
    /// </summary>
    /// <exception cref="IOException">The drive's folder or that of its volumes cannot be synced, or the drive of one above fails.</exception>
    private void SyncNames()
    {
        if (!OperatingSystem.IsLinux())
            return;
        if (Directory.Exists(_volumes))
            Posix.SyncFolder(_volumes);
        Posix.SyncFolder(Path);

        // What this process may not open, or what cannot be synced at all, it has not made a folder in, nor above it.
        for (string? above = System.IO.Path.GetDirectoryName(Path); above is not null && Posix.TrySyncFolder(above); above = System.IO.Path.GetDirectoryName(above))
        {
        }
    }

    private static void SyncFolder(string path)
    {
        if (OperatingSystem.IsLinux())
            Posix.SyncFolder(path);
    }
}
