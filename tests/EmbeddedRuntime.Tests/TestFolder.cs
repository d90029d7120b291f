namespace ObjectStore.EmbeddedRuntime.Tests;

/// <summary>A folder that is gone when the test ends, however it ends.</summary>
internal sealed class TestFolder : IDisposable
{
    public string Path { get; } = Directory.CreateTempSubdirectory("objectstore-grains-").FullName;

    /// <summary>Where a database may be made.</summary>
    public string Database => System.IO.Path.Combine(Path, "grains.db");

    public void Dispose() => Directory.Delete(Path, recursive: true);
}
