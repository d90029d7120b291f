using ObjectStore.Storage;
using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Extents;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Integrity;

namespace ObjectStore.Admin.Tests.Drives;

/// <summary>A drive folder with volumes of 4 MiB, written by the real store; gone after the test.</summary>
internal sealed class TestDrive : IDisposable
{
    private readonly Random _random = new(11);
    private readonly string _root = Directory.CreateTempSubdirectory("objectstore-admin-").FullName;

    public string Folder => Path.Combine(_root, "drive");

    public string IndexFile => Path.Combine(Folder, "index.db");

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    public string Volume(int id) => Path.Combine(Folder, "volumes", $"{id:D8}.vol");

    public IReadOnlyList<string> Volumes => [.. Directory.GetFiles(Path.Combine(Folder, "volumes")).Order(StringComparer.Ordinal)];

    /// <summary>Writes six fragments of 1 MiB and twenty small ones, deletes one of each, and closes. Volume 1 is sealed then.</summary>
    public async Task<List<FragmentWrite>> FillAsync(byte[]? key = null)
    {
        List<FragmentWrite> written = [];
        await using LocalDrives drives = await OpenAsync();
        LocalFragmentStore drive = drives.Drives[0];
        for (int i = 0; i < 26; i++)
        {
            FragmentWrite write = Make(i % 4 == 0 && i < 24 ? 1 << 20 : 1000 + i, i, key ?? "some/key"u8.ToArray());
            await drive.WriteAsync(write, sync: true, Stop);
            written.Add(write);
        }

        await drive.DeleteAsync(new[] { written[0].Key, written[1].Key }, Stop);
        return written;
    }

    public Task<LocalDrives> OpenAsync() => LocalDrives.OpenAsync(
        new StorageOptions { DrivePaths = [Folder], VolumeSizeBytes = 4 << 20, HeadroomBytes = 0, WritersPerDrive = 1, DirectIo = false }, TimeProvider.System, Random64, NoStorageEvents.Instance, Stop);

    /// <summary>Asserts that all but the two deleted ones read as they were written, and those are missing.</summary>
    public async Task AssertHolds(List<FragmentWrite> written)
    {
        await using LocalDrives drives = await OpenAsync();
        LocalFragmentStore drive = drives.Drives[0];
        for (int i = 0; i < written.Count; i++)
        {
            FragmentAddress address = new(written[i].Key, 0, written[i].Scheme, written[i].Payload.Length);
            byte[] read = new byte[written[i].Payload.Length];
            if (i < 2)
            {
                await Assert.ThrowsAsync<FragmentMissingException>(async () => await drive.ReadAsync(address, 0, read, Stop));
                continue;
            }

            await drive.ReadAsync(address, 0, read, Stop);
            Assert.True(written[i].Payload.Span.SequenceEqual(read));
        }
    }

    /// <summary>As <see cref="FillAsync"/>, and then the folder is what a crash leaves: as it is while the store has it open.</summary>
    public async Task<List<FragmentWrite>> FillAndCrashAsync()
    {
        List<FragmentWrite> written = await FillAsync();
        string image = Folder + "-image";
        await using (LocalDrives open = await OpenAsync())
        {
            FragmentWrite more = Make(2000, 26, "late"u8.ToArray());
            await open.Drives[0].WriteAsync(more, sync: true, Stop);
            written.Add(more);
            open.Drives[0].Engine.Maintain();
            foreach (string file in Directory.GetFiles(Folder, "*", SearchOption.AllDirectories).Where(file => Path.GetFileName(file) != "lock"))
            {
                string copy = Path.Combine(image, Path.GetRelativePath(Folder, file));
                Directory.CreateDirectory(Path.GetDirectoryName(copy)!);
                File.Copy(file, copy);
            }
        }

        Directory.Delete(Folder, recursive: true);
        Directory.Move(image, Folder);
        Assert.True(new FileInfo(IndexFile + "-wal").Length > 0);
        return written;
    }

    /// <summary>Names and contents of everything in the folder.</summary>
    public Dictionary<string, string> Snapshot() => Directory.GetFiles(Folder, "*", SearchOption.AllDirectories)
        .ToDictionary(file => Path.GetRelativePath(Folder, file), file => file.EndsWith("lock", StringComparison.Ordinal) ? "" : Convert.ToHexString(System.Security.Cryptography.SHA256.HashData(File.ReadAllBytes(file))));

    public static void Flip(string file, long offset)
    {
        using FileStream stream = new(file, FileMode.Open, FileAccess.ReadWrite);
        stream.Position = offset;
        int value = stream.ReadByte();
        stream.Position = offset;
        stream.WriteByte((byte)(value ^ 0x10));
    }

    public void Dispose() => Directory.Delete(_root, recursive: true);

    private FragmentWrite Make(int length, int number, byte[] key)
    {
        byte[] bytes = new byte[length];
        _random.NextBytes(bytes);
        ulong[] checksums = [.. Enumerable.Range(0, (length + 65535) / 65536).Select(i => Crc64Nvme.Compute(bytes.AsSpan(i * 65536, Math.Min(65536, length - (i * 65536)))))];
        ExtentDescriptor descriptor = new(new ExtentId(new UInt128(Random64(), Random64())), 0, 77, key, new UInt128(0xAB, (ulong)number), number % 3);
        return new FragmentWrite(descriptor, Scheme.Copies(2), 1 << 20, 0, length, number % 2, bytes, checksums);
    }

    private ulong Random64()
    {
        lock (_random) return (ulong)_random.NextInt64(long.MinValue, long.MaxValue);
    }
}
