-- detections_camera_time begins with the same column: each detection was written to both.
DROP INDEX detections_camera;
