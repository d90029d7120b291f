namespace ObjectStore.Benchmarks;

/// <summary>A folder of a benchmark's own under the temporary folder, removed with it.</summary>
internal sealed class ScratchFolder : IDisposable
{
    public string Path { get; } = Directory.CreateTempSubdirectory("objectstore-micro-").FullName;

    public void Dispose() => Directory.Delete(Path, recursive: true);
}
